"""Train a model by a user's function on a version of training data, and keep it as a version of its own."""

from millrace.training.models.function import TrainingFunction, digest_of, load_function, name_of
from millrace.training.models.job import PreparedDataset, TrainedModel, TrainingJob, check_trained
from millrace.training.models.model_files import (
    METRICS_FILE,
    RECIPE_FILE,
    REPORT_FILE,
    file_names,
    files_of,
    read_files,
    write_files,
)
from millrace.training.models.origin import ModelOrigin, is_model
from millrace.training.models.progress import JobProgress
from millrace.training.models.report import ModelReport
from millrace.training.models.running import run_function
from millrace.training.models.selection import BEST_TAG, Improvement, compare, model_dataset
from millrace.training.models.weights import pack_arrays, unpack_arrays

__all__ = [
    "BEST_TAG",
    "Improvement",
    "JobProgress",
    "METRICS_FILE",
    "ModelOrigin",
    "ModelReport",
    "PreparedDataset",
    "RECIPE_FILE",
    "REPORT_FILE",
    "TrainedModel",
    "TrainingFunction",
    "TrainingJob",
    "check_trained",
    "compare",
    "digest_of",
    "file_names",
    "files_of",
    "is_model",
    "load_function",
    "model_dataset",
    "name_of",
    "pack_arrays",
    "read_files",
    "run_function",
    "unpack_arrays",
    "write_files",
]
