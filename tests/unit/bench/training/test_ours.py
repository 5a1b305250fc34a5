"""Millrace as a contestant: epochs through its loader, starts, and the waits of a slow consumer."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from bench.training import ours
from bench.training.ours import ReadBatches, TrainingEpochs, TrainingStarts, TrainingWaits
from bench.training.samples import Samples, make_samples

ROWS = 1_000_000 // 260


class Loader:
    """A loader over samples in memory that waits ``first_s`` before the first batch of an epoch."""

    prefetch_bytes = 1_000_000

    def __init__(self, samples: Samples, options: dict[str, Any], first_s: float = 0.0) -> None:
        self.x, self.y = (np.load(samples.folder / name) for name in ("x.npy", "y.npy"))
        self.options, self.first_s = options, first_s
        self.epoch, self.row, self.closed = 0, 0, False
        self.epochs: list[int] = []

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def __len__(self) -> int:
        return -(-ROWS // self.options["global_batch_rows"])

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        self.epochs.append(self.epoch)
        time.sleep(self.first_s)
        order = np.random.default_rng(self.epoch).permutation(ROWS)
        for at in range(self.row, ROWS, self.options["global_batch_rows"]):
            rows = order[at : at + self.options["global_batch_rows"]]
            yield {"x": self.x[rows], "y": self.y[rows]}
        self.epoch, self.row = self.epoch + 1, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def state_at(self, step: int) -> dict[str, int]:
        return {"row": step * self.options["global_batch_rows"]}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.row = state["row"]

    def facts(self) -> Any:
        return SimpleNamespace(tiers={"redis": 3})

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def loaders(monkeypatch: pytest.MonkeyPatch, samples: Samples) -> list[Loader]:
    """Return the loaders that contestants make; the second one and later ones start slowly."""
    made: list[Loader] = []

    def training(**options: Any) -> Loader:
        made.append(Loader(samples, options, first_s=0.02 * len(made)))
        return made[-1]

    def to_batches() -> Iterator[pa.RecordBatch]:
        with pa.memory_map(str(samples.arrow)) as source:
            yield from pa.ipc.open_file(source).read_all().to_batches(max_chunksize=1000)

    dataset = SimpleNamespace(training=training, to_batches=to_batches)
    store = SimpleNamespace(dataset=lambda _name: dataset, close=lambda: None)
    monkeypatch.setattr(ours, "connect", lambda: store)
    return made


@pytest.fixture
def samples(tmp_path: Path) -> Samples:
    return make_samples("floats", 1, tmp_path)


def test_an_epoch_has_each_row_once_and_says_where_the_chunks_came_from(
    samples: Samples, loaders: list[Loader]
) -> None:
    contestant = TrainingEpochs(str(samples.folder), "floats", 256, [], cache_bytes=5)
    facts = contestant.check()
    assert (facts["wrong"], facts["repeated"], facts["missing"]) == (0, 0, 0)
    assert contestant.run()["tiers"] == {"redis": 3}
    assert loaders[0].options == {"global_batch_rows": 256, "seed": 7, "tail": "uneven", "cache_bytes": 5}
    contestant.close()
    assert loaders[0].closed


def test_a_run_is_the_second_of_two_epochs_and_not_the_one_begun_before_a_pause(
    samples: Samples, loaders: list[Loader]
) -> None:
    contestant = TrainingEpochs(str(samples.folder), "floats", 256, [os.getpid()])
    contestant.check()
    loaders[0].first_s = 0.1
    facts = contestant.run()
    assert loaders[0].epochs == [0, 2, 3]
    assert facts["rows"] == ROWS
    assert 0 < facts["first_rows_per_s"] < ROWS / 0.1
    assert facts["nodes_cpu_s"] == pytest.approx(facts["cpu_s"], abs=0.05)


def test_a_start_is_measured_by_new_loaders_at_the_beginning_and_in_the_middle(
    samples: Samples, loaders: list[Loader]
) -> None:
    facts = TrainingStarts("floats", 256, window_chunks=1).run()
    assert 0 < facts["first_s"] < 0.02 <= facts["resume_s"]
    assert [loader.row for loader in loaders] == [0, len(loaders[1]) // 2 * 256]
    assert all(loader.closed for loader in loaders)


def test_a_consumer_waits_for_batches_and_between_epochs(samples: Samples, loaders: list[Loader]) -> None:
    consumer = TrainingWaits("floats", 256, step_s=0.002)
    loaders[0].first_s = 0.05
    facts = consumer.run()
    assert facts["rows"] == 2 * len(loaders[0]) - 1
    assert facts["gap_s"] >= 0.05
    assert facts["seconds"] >= 2 * len(loaders[0]) * 0.002
    assert facts["p50_s"] < 0.05


@pytest.mark.usefixtures("loaders")
def test_a_read_without_a_shuffle_delivers_the_rows_in_order(samples: Samples) -> None:
    facts = ReadBatches(str(samples.folder), "floats").check()
    assert (facts["wrong"], facts["repeated"], facts["missing"]) == (0, 0, 0)
    assert facts["spread"] == pytest.approx(500 / ROWS, rel=0.1)


@pytest.mark.parametrize("name", ["images", "tokens"])
def test_tensors_and_lists_become_arrays_without_a_copy(tmp_path: Path, name: str) -> None:
    made = make_samples(name, 1, tmp_path)
    x = np.load(made.folder / "x.npy")
    with pa.memory_map(str(made.arrow)) as source:
        column = pa.ipc.open_file(source).read_all()["x"].chunk(0).slice(3, 5)
    np.testing.assert_array_equal(ours._array(column, x.dtype, x.shape[1:]), x[3:8])
