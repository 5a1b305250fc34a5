"""Run a training function on an open dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING

from millrace.progress import ProgressTask
from millrace.training.models.function import TrainingFunction, name_of
from millrace.training.models.job import TrainedModel, TrainingJob, check_trained
from millrace.training.models.progress import JobProgress

if TYPE_CHECKING:
    from millrace.dataset import Recipe
    from millrace.training.models.job import PreparedDataset


def run_function(
    function: TrainingFunction,
    dataset: PreparedDataset,
    recipe: Recipe,
    *,
    seed: int,
    job: str,
    task: ProgressTask,
) -> TrainedModel:
    """Return the checked result of the function, whose data has a lease and a pin in the name of ``job`` meanwhile."""
    with dataset.used_by(job) as lease, JobProgress(task) as progress:
        if lease is not None:
            lease.wait_taken()
        result = function(TrainingJob(dataset.version.dataset, dataset, recipe, seed, progress))
    return check_trained(result, name_of(function))
