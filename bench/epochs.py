"""One epoch of a reader of training data, measured and checked; the same for Millrace and for each peer.

Only NumPy and the standard library are imported, because each peer runs in an environment of its own.
"""

from __future__ import annotations

import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.workers import workers_use

__all__ = ["Batch", "Batches", "CopiedEpochs", "Epochs", "SampleFiles", "check_epoch", "time_epoch"]

SECONDS_MAX = 20.0
"""A run ends after this time, also in the middle of an epoch. The rate is that of the rows delivered until then."""
CHECK_S = 10.0
"""A check of an epoch ends after this time."""
WRITE_S = 30.0
"""A peer gets a smaller copy if its own writer needs more time than this for all samples."""

Batch = tuple[np.ndarray, np.ndarray | None]
"""Samples, and their labels; tokens have no labels."""
Batches = Generator[Batch, None, None]


@dataclass(frozen=True, slots=True)
class SampleFiles:
    """The NumPy files of one shape: ``x.npy``, ``y.npy`` (not for tokens) and ``marks.npy``.

    The number of a row is its label, or the first token of a row of tokens. The mark of a row is the second value of
    its sample. Number and mark of each delivered row prove that an epoch holds each row once.
    """

    folder: Path

    @property
    def x(self) -> np.ndarray:
        """Return the samples, mapped into memory and not read."""
        return _mapped(self.folder / "x.npy")

    @property
    def y(self) -> np.ndarray | None:
        """Return the labels, mapped into memory, or None for tokens."""
        path = self.folder / "y.npy"
        return _mapped(path) if path.exists() else None

    @property
    def marks(self) -> np.ndarray:
        """Return the mark of each row as float32."""
        return np.array(_mapped(self.folder / "marks.npy"))


def _mapped(path: Path) -> np.ndarray:
    array: np.ndarray = np.load(path, mmap_mode="r")
    return array


def time_epoch(batches: Batches, *, seconds_max: float = SECONDS_MAX) -> dict[str, Any]:
    """Take the batches of one epoch; return rows, seconds, bytes, ``first_batch_s`` and the sum of marks and labels.

    The clock starts before the first batch is asked for. Adding up one column and the labels is a light touch of each
    batch that proves a complete epoch.
    """
    rows = size_bytes = 0
    first_s = total = 0.0
    began = time.perf_counter()
    ends = began + seconds_max
    with closing(batches):
        for x, y in batches:
            now = time.perf_counter()
            first_s = first_s or now - began
            rows, size_bytes = rows + len(x), size_bytes + x.nbytes
            total += float(x.reshape(len(x), -1)[:, 1].sum(dtype=np.float64))
            if y is not None:
                size_bytes += y.nbytes
                total += float(y.sum(dtype=np.float64))
            if now > ends:
                break
        seconds = time.perf_counter() - began
    facts = {"rows": rows, "seconds": seconds, "delivered_bytes": size_bytes, "first_batch_s": first_s}
    return {**facts, "sum": total}


def check_epoch(batches: Batches, marks: np.ndarray, *, seconds_max: float = CHECK_S) -> dict[str, Any]:
    """Take the batches of one epoch and check each row; return rows, ``wrong``, ``repeated``, ``missing``, ``spread``.

    ``marks`` has one for each row of the data. ``wrong`` counts the rows whose sample is not that of their number.
    ``missing`` is 0 if the epoch did not end within the time. ``spread`` is the mean distance in the data of rows that
    are half a batch apart, as a share of the rows: a third when all are shuffled.
    """
    numbers, found, distances = [], [], []
    ends = time.perf_counter() + seconds_max
    cut = False
    with closing(batches):
        for x, y in batches:
            flat = x.reshape(len(x), -1)
            numbers.append(np.array(flat[:, 0] if y is None else y, dtype=np.int64))
            half = len(x) // 2
            distances.append(np.abs(numbers[-1][:half] - numbers[-1][half : 2 * half]))
            found.append(np.array(flat[:, 1], dtype=np.float32))
            if cut := time.perf_counter() > ends:
                break
    delivered, values = np.concatenate(numbers), np.concatenate(found)
    distinct = len(np.unique(delivered))
    return {
        "rows": len(delivered),
        "wrong": int(np.count_nonzero(values != marks[delivered])),
        "repeated": len(delivered) - distinct,
        "missing": 0 if cut else len(marks) - distinct,
        "spread": float(np.concatenate(distances).mean()) / len(marks),
    }


class Epochs(ABC):
    """A contestant that delivers one epoch for each run; ``workers`` is the number of processes beside its own."""

    configuration: tuple[str, ...] = ()

    def __init__(self, samples: str, workers: int = 0) -> None:
        self.samples = SampleFiles(Path(samples))
        self.workers = workers
        self.rows = len(self.samples.x)
        self._epoch = -1

    @abstractmethod
    def batches(self, epoch: int) -> Batches:
        """Return the shuffled batches of an epoch; closing the iterator ends its threads and processes."""

    def run(self) -> dict[str, Any]:
        """Deliver one epoch, or as much of it as 20 s allow; raise ``ValueError`` if a whole epoch has other rows."""
        with workers_use(self.workers) as use:
            facts = time_epoch(self._next())
        if facts["rows"] == self.rows and not np.isclose(facts["sum"], self._expected_sum(), rtol=1e-6, atol=1):
            raise ValueError(f"an epoch of {self.rows} rows has the sum {facts['sum']}, not {self._expected_sum()}")
        return facts | use

    def check(self) -> dict[str, Any]:
        """Deliver one epoch and check each row of it."""
        return check_epoch(self._next(), self.samples.marks[: self.rows])

    def profile(self) -> dict[str, Any]:
        """Do the same as ``run``."""
        return self.run()

    def close(self) -> None:  # noqa: B027  most have nothing to release
        """Release the resources of the reader."""

    def _next(self) -> Batches:
        self._epoch += 1
        return self.batches(self._epoch)

    def _expected_sum(self) -> float:
        labels = 0 if self.samples.y is None else self.rows * (self.rows - 1) // 2
        return float(self.samples.marks[: self.rows].sum(dtype=np.float64)) + labels


class CopiedEpochs(Epochs):
    """A contestant that reads a copy in its own format, below ``target``; the first one there writes it."""

    def __init__(self, samples: str, target: str, batch_rows: int, workers: int = 0) -> None:
        super().__init__(samples, workers)
        self.target, self.batch_rows = Path(target), batch_rows
        partly, count = (self.target.with_name(f"{self.target.name}{ending}") for ending in (".partial", ".rows"))
        if not self.target.exists():
            shutil.rmtree(partly, ignore_errors=True)
            count.write_text(str(self.write(partly, time.time() + WRITE_S)))
            partly.rename(self.target)
        self.rows = int(count.read_text())

    @abstractmethod
    def write(self, folder: Path, deadline: float) -> int:
        """Write the samples to a new folder, the first ones if the clock reaches the deadline; return their number."""

    @property
    def copied(self) -> str:
        """Return the size of the copy, as a part of the configuration."""
        whole = len(self.samples.x)
        return "all samples" if self.rows == whole else f"{self.rows:,} samples, written within {WRITE_S:g} s"
