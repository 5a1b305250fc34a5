"""Prepare training data, and read it: in deterministic, elastic order, with a memory bound in bytes."""

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
from millrace.training.prepare import (
    TARGET,
    CutSplits,
    Expectations,
    HashSplits,
    Preparation,
    PreparedData,
    PreparePlan,
    Preview,
    make_prepare_plan,
    prepare_rows,
    preview,
    publish_prepared,
    unchanged_report,
)
from millrace.training.progress import TrainingFacts, TrainingProgress, WaitTimes
from millrace.training.state import LoaderState

__all__ = [
    "BEST_TAG",
    "BatchIterator",
    "CutSplits",
    "EpochCost",
    "Expectations",
    "HashSplits",
    "LoaderOptions",
    "LoaderState",
    "METRICS_FILE",
    "Mixture",
    "MixtureState",
    "ModelOrigin",
    "ModelReport",
    "Preparation",
    "PreparePlan",
    "PreparedData",
    "Preview",
    "TARGET",
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
    "make_prepare_plan",
    "mix",
    "model_dataset",
    "name_of",
    "prepare_rows",
    "preview",
    "publish_prepared",
    "read_files",
    "run_function",
    "unchanged_report",
    "write_files",
]
