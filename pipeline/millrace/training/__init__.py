"""Read training data: deterministic, elastic order, and batches of columns with a memory bound in bytes."""

from millrace.training.iteration import BatchIterator
from millrace.training.loader import TrainingLoader
from millrace.training.making import make_loader
from millrace.training.mixing import Mixture, MixtureState, mix
from millrace.training.models import (
    BEST_TAG,
    METRICS_FILE,
    ModelReport,
    TrainedModel,
    TrainingFunction,
    TrainingJob,
    compare,
    digest_of,
    file_names,
    files_of,
    load_function,
    model_dataset,
    name_of,
    read_files,
    run_function,
    write_files,
)
from millrace.training.options import LoaderOptions
from millrace.training.planning import EpochCost, epoch_cost
from millrace.training.progress import TrainingFacts, TrainingProgress, WaitTimes
from millrace.training.state import LoaderState

__all__ = [
    "BEST_TAG",
    "BatchIterator",
    "EpochCost",
    "LoaderOptions",
    "LoaderState",
    "METRICS_FILE",
    "Mixture",
    "MixtureState",
    "ModelReport",
    "TrainedModel",
    "TrainingFacts",
    "TrainingFunction",
    "TrainingJob",
    "TrainingLoader",
    "TrainingProgress",
    "WaitTimes",
    "compare",
    "digest_of",
    "epoch_cost",
    "file_names",
    "files_of",
    "load_function",
    "make_loader",
    "mix",
    "model_dataset",
    "name_of",
    "read_files",
    "run_function",
    "write_files",
]
