"""Datasets in memory as the sources of a mixture: a column of row numbers, and one of lists of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from millrace.training.columns import ColumnPlan, Plan, RaggedPlan
from millrace.training.mixing.mixed_batch import Columns
from millrace.training.mixing.mixture import Mixture
from millrace.training.mixing.plan import MixPlan, Part, Stop, Stretch
from millrace.training.order import Tail, rank_lanes
from millrace.training.state import LoaderState
from tests.unit.training.memory_loader import Case, MemoryLoader

ROW = ColumnPlan("row", pa.int64(), np.dtype(np.int64), is_copy=True)
DATASET = ColumnPlan("dataset", pa.int64(), np.dtype(np.int64), is_copy=True)
TEXT = RaggedPlan("text", pa.string())


class MemorySource:
    """The rows of a rank's lanes, in blocks of ``block_rows`` rows of each lane; a block is overwritten soon."""

    def __init__(self, number: int, case: Case, rank: int, world: int, block_rows: int) -> None:
        self._number = number
        self._case = case
        self._block_rows = block_rows
        self.lanes = rank_lanes(rank, world, case.spec.lanes)
        self.state = LoaderState(case.spec, Tail.DROP_LAST)
        self.plans: Sequence[Plan] = [ROW, DATASET, TEXT]
        self.prefetch_bytes = 1000
        self.tiers = {"redis": 3}
        self.is_closed = False

    def make_batch(self, columns: Columns) -> Any:
        return dict(columns)

    def blocks(self, stretches: Iterator[Stretch]) -> Iterator[tuple[Columns, int]]:
        last: list[Any] = []
        for stretch in stretches:
            for first in range(stretch.first, stretch.stop, self._block_rows):
                stop = min(first + self._block_rows, stretch.stop)
                rows = np.concatenate([self._lane(stretch.epoch, lane)[first:stop] for lane in self.lanes])
                last.append(rows)
                if len(last) > 2:
                    last.pop(0).fill(-1)
                text = pa.array([f"{self._number}:{row}" for row in rows.tolist()], pa.string())
                yield {"row": rows, "dataset": np.full_like(rows, self._number), "text": text}, stop - first

    def close(self) -> None:
        self.is_closed = True

    def _lane(self, epoch: int, lane: int) -> Any:
        state = LoaderState(self._case.spec, Tail.DROP_LAST, epoch)
        return MemoryLoader(self._case, state=state).lane_stream(lane)


def mixture(
    cases: Sequence[Case],
    weights: Sequence[int],
    stop: Stop,
    batch_rows: int,
    *,
    rank: int = 0,
    world: int = 1,
    block_rows: int = 3,
) -> Mixture:
    """Return the mixture of one rank."""
    parts = [
        Part(case.spec.version, weight, case.spec.lanes, min(case.order.rows_of_lanes))
        for case, weight in zip(cases, weights, strict=True)
    ]
    sources = [MemorySource(number, case, rank, world, block_rows) for number, case in enumerate(cases)]
    return Mixture(MixPlan(tuple(parts), batch_rows, stop), sources)
