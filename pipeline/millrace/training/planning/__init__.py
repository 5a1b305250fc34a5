"""Tell before a training job how an epoch will be: cost, memory and quality of the shuffle."""
