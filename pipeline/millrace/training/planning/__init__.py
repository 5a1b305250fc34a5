"""Tell before a training job how an epoch will be: cost, memory and quality of the shuffle."""

from millrace.training.planning.epoch_cost import EpochCost, epoch_cost
from millrace.training.planning.shuffle_quality import shuffle_quality

__all__ = ["EpochCost", "epoch_cost", "shuffle_quality"]
