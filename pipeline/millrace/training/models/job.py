"""The argument and the result of a training function, and the check of a result."""

from __future__ import annotations

import logging
import math
import numbers
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import pyarrow as pa

from millrace.dataset import Recipe
from millrace.errors import UsageError
from millrace.store import Lease, Version
from millrace.training.loader import TrainingLoader
from millrace.training.models.model_files import OWN_FILES
from millrace.training.models.progress import JobProgress

logger = logging.getLogger(__name__)

BATCH_ROWS: Final = 4096
"""Rows of a batch, unless the function asks for another number."""


class PreparedDataset(Protocol):
    """The part of a dataset of a store that a training function uses."""

    version: Version

    @property
    def schema(self) -> pa.Schema:
        """The schema of the version."""

    @property
    def training(self) -> Callable[..., TrainingLoader]:
        """Return the function that makes a loader."""

    def used_by(self, job: str | None) -> AbstractContextManager[Lease | None]:
        """Hold the lease of the version, and its pin in the cache."""


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """All that a training function gets: its data, how the data was made, and a seed.

    Equal data, seed and function must give equal bytes. So use ``seed`` for every number of chance.
    """

    name: str
    """The name of the training dataset."""
    dataset: PreparedDataset
    """The version to train on; its lease is held while the function runs."""
    recipe: Recipe
    seed: int = 0
    progress: JobProgress = field(default_factory=JobProgress)
    """Reports the losses and metrics of the job to the live page."""

    def loader(self, split: str, *, global_batch_rows: int = BATCH_ROWS, **options: Any) -> TrainingLoader:
        """Return a loader of a split with the seed of the job; ``options`` are those of ``Dataset.training``.

        Close the loader, or use it as a context manager.
        """
        options = {"seed": self.seed, **options}
        return self.dataset.training(split=split, global_batch_rows=global_batch_rows, **options)

    def log(self, message: str) -> None:
        """Show a message on the live page, and write it to the log."""
        logger.info("%s", message)
        self.progress.message(message)


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """The result of a training function.

    ``metrics`` are finite numbers. ``val_auc``, or else ``val_score``, decides whether the model is the best one; more
    is better. Metrics whose names begin with ``baseline_`` are those of a simple rule, to compare with.

    ``files`` are the model itself, by their paths, such as ``weights.npz``. ``report`` is Markdown; without one, a
    table of the metrics is made.
    """

    metrics: Mapping[str, float]
    files: Mapping[str, bytes]
    report: str = ""


def check_trained(result: object, function: str) -> TrainedModel:
    """Return the result of the function with plain numbers and bytes; raise ``UsageError`` if it is not possible."""
    if not isinstance(result, TrainedModel):
        raise UsageError(
            f"the training function {function} returned {type(result).__name__}, not a TrainedModel",
            hint="return millrace.training.TrainedModel(metrics=..., files=...)",
            function=function,
        )
    return TrainedModel(_metrics(result, function), _files(result, function), str(result.report))


def _metrics(result: TrainedModel, function: str) -> dict[str, float]:
    metrics: dict[str, float] = {}
    for name, value in dict(result.metrics).items():
        if not isinstance(name, str) or not _is_finite_number(value):
            raise UsageError(
                f"the training function {function} returned the metric {name!r} as {value!r}, not as a finite number",
                hint="leave the metric out, or find the batch whose loss is not finite",
                function=function,
                metric=name,
            )
        metrics[name] = float(value)
    if not metrics:
        raise UsageError(
            f"the training function {function} returned no metrics",
            hint="return at least val_auc or val_score, which decide whether the model is the best one",
            function=function,
        )
    return metrics


def _is_finite_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return False
    return math.isfinite(float(value))


def _files(result: TrainedModel, function: str) -> dict[str, bytes]:
    files = dict(result.files)
    if not files:
        raise UsageError(
            f"the training function {function} returned no files", hint="return the weights", function=function
        )
    for path, data in files.items():
        if not isinstance(data, bytes | bytearray | memoryview):
            raise _bad_file(function, path, f"as {type(data).__name__}, not as bytes", "encode it as bytes")
        parts = path.split("/") if isinstance(path, str) else [""]
        if not {"", ".", ".."}.isdisjoint(parts) or "\0" in str(path) or "\\" in str(path):
            raise _bad_file(function, path, "which is not a path below a folder", "use a name such as weights.npz")
        if path in OWN_FILES:
            raise _bad_file(function, path, "which Millrace writes itself", "use another name")
        folders = {"/".join(parts[:end]) for end in range(1, len(parts))}
        if not folders.isdisjoint(files.keys() | OWN_FILES):
            raise _bad_file(function, path, "below another file", "use another name")
    return {path: bytes(data) for path, data in files.items()}


def _bad_file(function: str, path: object, reason: str, hint: str) -> UsageError:
    return UsageError(
        f"the training function {function} returned the file {path!r} {reason}", hint=hint, function=function
    )
