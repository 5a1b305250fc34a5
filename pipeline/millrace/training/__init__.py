"""Read training data: deterministic, elastic order, and batches of columns with a memory bound in bytes."""

from millrace.training.iteration import BatchIterator
from millrace.training.loader import TrainingLoader
from millrace.training.making import make_loader
from millrace.training.mixing import Mixture, MixtureState, mix
from millrace.training.models import (
    BEST_TAG,
    METRICS_FILE,
    ModelOrigin,
    ModelReport,
    TrainedModel,
    TrainingFunction,
    TrainingJob,
    compare,
    file_names,
    files_of,
    is_model,
    load_function,
    model_dataset,
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
    "ModelOrigin",
    "ModelReport",
    "TrainedModel",
    "TrainingFacts",
    "TrainingFunction",
    "TrainingJob",
    "TrainingLoader",
    "TrainingProgress",
    "WaitTimes",
    "compare",
    "epoch_cost",
    "file_names",
    "files_of",
    "is_model",
    "load_function",
    "make_loader",
    "mix",
    "model_dataset",
    "read_files",
    "run_function",
    "write_files",
]
