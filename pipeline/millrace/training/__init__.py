"""Read training data: deterministic, elastic order, and batches of columns with a memory bound in bytes."""

from millrace.training.iteration import BatchIterator
from millrace.training.loader import TrainingLoader
from millrace.training.making import make_loader
from millrace.training.mixing import Mixture, mix
from millrace.training.options import LoaderOptions
from millrace.training.progress import TrainingFacts, TrainingProgress, WaitTimes
from millrace.training.state import LoaderState

__all__ = [
    "BatchIterator",
    "LoaderOptions",
    "LoaderState",
    "Mixture",
    "TrainingFacts",
    "TrainingLoader",
    "TrainingProgress",
    "WaitTimes",
    "make_loader",
    "mix",
]
