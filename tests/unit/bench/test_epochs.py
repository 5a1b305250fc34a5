"""Epochs of readers: what is measured, and the rows that the check of an epoch finds wrong."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.contestant import Contestant, contestants
from bench.epochs import Batches, CopiedEpochs, Epochs, SampleFiles, check_epoch, time_epoch

ROWS = 100


def sample_files(folder: Path, *, labels: bool = True) -> str:
    """Write samples of two columns; without labels the first column is the number of the row."""
    numbers = np.arange(ROWS, dtype=np.int32)
    x = np.stack([numbers, numbers * 3], axis=1)
    np.save(folder / "x.npy", x)
    if labels:
        np.save(folder / "y.npy", numbers)
    np.save(folder / "marks.npy", x[:, 1].astype(np.float32))
    return str(folder)


class Reader(Epochs):
    """Deliver the rows of ``order`` in batches of ten."""

    def __init__(self, samples: str, order: list[int] | None = None) -> None:
        super().__init__(samples)
        self.order = np.array(order if order is not None else np.random.default_rng(1).permutation(ROWS))
        self.closed = False

    def batches(self, epoch: int) -> Batches:
        x, y = self.samples.x, self.samples.y
        try:
            for at in range(0, len(self.order), 10):
                rows = self.order[at : at + 10]
                yield x[rows], None if y is None else y[rows]
        finally:
            self.closed = True


class Workers(Reader):
    """Start a process in each epoch."""

    def __init__(self, samples: str) -> None:
        super().__init__(samples)
        self.workers = 1

    def batches(self, epoch: int) -> Batches:
        import subprocess
        import sys

        child = subprocess.Popen(
            [sys.executable, "-c", "import sys; b = b'x' * 30_000_000; sys.stdin.read()"], stdin=-1
        )
        try:
            time.sleep(1)
            yield from super().batches(epoch)
        finally:
            child.communicate()


def ordered(rows: list[int], labels: bool = True) -> dict[str, Any]:
    numbers = np.array(rows)
    x = np.stack([numbers, numbers * 3], axis=1)
    batches = ((x[at : at + 10], numbers[at : at + 10] if labels else None) for at in range(0, len(rows), 10))
    return check_epoch(batches, np.arange(ROWS, dtype=np.float32) * 3)


@pytest.mark.parametrize("labels", [True, False])
def test_an_epoch_is_timed_with_its_rows_bytes_and_first_batch(tmp_path: Path, labels: bool) -> None:
    reader = Reader(sample_files(tmp_path, labels=labels))
    facts = reader.run()
    assert (facts["rows"], facts["delivered_bytes"]) == (ROWS, ROWS * (12 if labels else 8))
    assert 0 < facts["first_batch_s"] <= facts["seconds"] < 10
    assert reader.closed


def test_a_run_that_takes_too_long_ends_within_its_epoch(tmp_path: Path) -> None:
    reader = Reader(sample_files(tmp_path))
    assert time_epoch(reader.batches(0), seconds_max=0)["rows"] == 10
    assert reader.closed


def test_a_whole_epoch_with_other_rows_is_an_error(tmp_path: Path) -> None:
    reader = Reader(sample_files(tmp_path), order=[0, *range(ROWS - 1)])
    with pytest.raises(ValueError, match="an epoch of 100 rows has the sum"):
        reader.run()


@pytest.mark.parametrize("labels", [True, False])
def test_a_shuffled_epoch_with_each_row_once_passes_the_check(tmp_path: Path, labels: bool) -> None:
    facts = Reader(sample_files(tmp_path, labels=labels)).check()
    assert (facts["rows"], facts["wrong"], facts["repeated"], facts["missing"]) == (ROWS, 0, 0, 0)
    assert 0.2 < facts["spread"] < 0.5


def test_the_check_counts_repeated_and_missing_rows() -> None:
    facts = ordered([0, 0, 0, *range(1, ROWS - 1)])
    assert (facts["wrong"], facts["repeated"], facts["missing"]) == (0, 2, 1)


def test_the_check_counts_samples_that_are_not_those_of_their_number() -> None:
    numbers = np.arange(ROWS)
    x = np.stack([numbers, np.where(numbers == 7, 0, numbers * 3)], axis=1)
    facts = check_epoch(((x, numbers) for _ in range(1)), np.arange(ROWS, dtype=np.float32) * 3)
    assert facts["wrong"] == 1


def test_rows_in_their_order_are_close_together() -> None:
    assert ordered(list(range(ROWS)))["spread"] == pytest.approx(5 / ROWS)


def test_the_memory_of_workers_and_of_their_children_counts(tmp_path: Path) -> None:
    spec = f"{__name__ if '.' in __name__ else 'tests.unit.bench.test_epochs'}:Workers"
    contestant = Contestant.of("workers", spec, samples=sample_files(tmp_path))
    with contestants(contestant):
        outcome = contestant.ask()
    assert outcome.facts["workers_peak_bytes"] > 30_000_000
    assert outcome.peak_rss_bytes > outcome.facts["workers_peak_bytes"]


class Copy(CopiedEpochs):
    """Write the numbers of the first rows to a file."""

    written = 0

    def write(self, folder: Path, deadline: float) -> int:
        assert deadline > time.time()
        Copy.written += 1
        folder.mkdir()
        return 40

    def batches(self, epoch: int) -> Batches:
        x, y = self.samples.x[: self.rows], self.samples.y
        assert y is not None
        yield x[::-1], y[: self.rows][::-1]


def test_a_copy_is_written_once_and_may_hold_only_the_first_rows(tmp_path: Path) -> None:
    samples, target = sample_files(tmp_path), str(tmp_path / "copy")
    for _ in range(2):
        copy = Copy(samples, target, 10)
        assert copy.run()["rows"] == copy.rows == 40
        assert copy.check()["missing"] == 0
        assert copy.copied == "40 samples, written within 30 s"
    assert Copy.written == 1


def test_samples_are_mapped_and_not_read(tmp_path: Path) -> None:
    files = SampleFiles(Path(sample_files(tmp_path)))
    assert isinstance(files.x, np.memmap)
    assert isinstance(files.y, np.memmap)
    assert type(files.marks) is np.ndarray
