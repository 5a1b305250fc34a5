"""Millrace as a contestant of ``bench training``: epochs of its training reader, and the times around them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import psutil
import pyarrow as pa

from bench.epochs import Batches, Epochs
from millrace import connect

__all__ = ["ReadBatches", "TrainingEpochs", "TrainingStarts", "TrainingWaits"]

_SEED = 7
_SLEEP_S = 0.001
"""A consumer at half speed sleeps at least that long at a time: shorter sleeps take longer than asked for."""


class TrainingEpochs(Epochs):
    """Read epochs of the latest version through its training loader, from the tier that the environment offers.

    A run is two epochs without a pause between them. The second one is the run's result: the loader begins an epoch
    during the last one, and each of them has the work of one epoch. The first one, after a pause, is a fact of its own.
    The tail is ``uneven``, so that each row comes in every epoch. ``servers`` are the processes that serve it.
    """

    def __init__(self, samples: str, dataset: str, batch_rows: int, servers: list[int], **options: Any) -> None:
        super().__init__(samples)
        self._store = connect()
        self._servers = [psutil.Process(pid) for pid in servers]
        self._loader = self._store.dataset(dataset).training(
            global_batch_rows=batch_rows, seed=_SEED, tail="uneven", **options
        )
        self.configuration = (
            f"batches of {batch_rows}, prefetch_bytes {self._loader.prefetch_bytes:,}",
            *(f"{name}={value}" for name, value in options.items()),
        )

    def batches(self, epoch: int) -> Batches:
        """Yield the batches of an epoch as they are delivered."""
        self._loader.set_epoch(epoch)
        for batch in self._loader:
            yield batch["x"], batch.get("y")

    def run(self) -> dict[str, Any]:
        """Deliver two epochs; the chunks that came from each tier are counted since the loader was made."""
        self._epoch += 1  # the epoch that was begun before the pause is left out
        first = super().run()
        own_s, servers_s = time.process_time(), self._servers_cpu_s()
        facts = super().run()
        return {
            **facts,
            "cpu_s": time.process_time() - own_s,
            "nodes_cpu_s": self._servers_cpu_s() - servers_s,
            "first_rows_per_s": first["rows"] / first["seconds"],
            "tiers": dict(self._loader.facts().tiers),
        }

    def close(self) -> None:
        """Close the loader and disconnect."""
        self._loader.close()
        self._store.close()

    def _servers_cpu_s(self) -> float:
        times = [server.cpu_times() for server in self._servers]
        return float(sum(spent.user + spent.system for spent in times))


class TrainingStarts:
    """Measure the time to the first batch of new loaders: at the start of an epoch, and after a state in its middle."""

    def __init__(self, dataset: str, batch_rows: int, **options: Any) -> None:
        self._store = connect()
        self._dataset = self._store.dataset(dataset)
        self._options = {"global_batch_rows": batch_rows, "seed": _SEED, **options}

    def run(self) -> dict[str, Any]:
        """Make two loaders, one after the other; the times are from ``iter`` to the batch."""
        first_s = self._first_batch_s(resume=False)
        return {"rows": 1, "seconds": first_s, "first_s": first_s, "resume_s": self._first_batch_s(resume=True)}

    def profile(self) -> dict[str, Any]:
        """Do the same as ``run``."""
        return self.run()

    def close(self) -> None:
        """Disconnect."""
        self._store.close()

    def _first_batch_s(self, *, resume: bool) -> float:
        with self._dataset.training(**self._options) as loader:
            if resume:
                loader.load_state_dict(loader.state_at(len(loader) // 2))
            began = time.perf_counter()
            next(iter(loader))
            return time.perf_counter() - began


class TrainingWaits:
    """Measure how long a consumer waits for batches that works ``step_s`` on each of them, over two epochs."""

    def __init__(self, dataset: str, batch_rows: int, step_s: float, **options: Any) -> None:
        self._store = connect()
        self._step_s = step_s
        self._loader = self._store.dataset(dataset).training(
            global_batch_rows=batch_rows, seed=_SEED, tail="uneven", **options
        )

    def run(self) -> dict[str, Any]:
        """Take two epochs; the wait for the very first batch counts for none of the figures."""
        began = time.perf_counter()
        first, second = ([seconds for seconds, _ in self._epoch()] for _ in range(2))
        waits = np.array([*first[1:], *second])
        return {
            "rows": len(waits),
            "seconds": time.perf_counter() - began,
            "p50_s": float(np.quantile(waits, 0.5)),
            "p99_s": float(np.quantile(waits, 0.99)),
            "gap_s": second[0],
        }

    def profile(self) -> dict[str, Any]:
        """Do the same as ``run``."""
        return self.run()

    def close(self) -> None:
        """Close the loader and disconnect."""
        self._loader.close()
        self._store.close()

    def _epoch(self) -> Iterator[tuple[float, int]]:
        """Yield the wait for each batch and its rows; the first wait begins before ``iter``."""
        work_s, began = 0.0, time.perf_counter()
        for batch in self._loader:
            yield time.perf_counter() - began, len(batch["x"])
            work_s += self._step_s
            if work_s >= _SLEEP_S:
                asleep = time.perf_counter()
                time.sleep(work_s)
                work_s -= time.perf_counter() - asleep
            began = time.perf_counter()


class ReadBatches(Epochs):
    """Read the latest version in the order of its rows through ``to_batches``, which shuffles nothing."""

    def __init__(self, samples: str, dataset: str) -> None:
        super().__init__(samples)
        self._store = connect()
        self._dataset = self._store.dataset(dataset)
        self.configuration = ("to_batches, no shuffle",)

    def batches(self, epoch: int) -> Batches:
        """Yield the columns of each record batch, without a copy."""
        del epoch
        x = self.samples.x
        for batch in self._dataset.to_batches():
            yield (
                _array(batch.column(0), x.dtype, x.shape[1:]),
                None if len(batch.columns) == 1 else _array(batch.column(1), np.dtype(np.int32), ()),
            )

    def close(self) -> None:
        """Disconnect."""
        self._store.close()


def _array(column: pa.Array, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    storage = column.storage if isinstance(column, pa.ExtensionArray) else column
    values = storage.flatten() if pa.types.is_fixed_size_list(storage.type) else storage
    return np.frombuffer(values.buffers()[1], dtype, len(values), values.offset * dtype.itemsize).reshape(-1, *shape)
