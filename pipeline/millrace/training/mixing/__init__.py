"""Mix datasets by weight: how many rows of each are in a batch depends on the batch alone."""
