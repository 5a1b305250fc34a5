"""The small facts of a loader that need no open dataset: they are pickled with it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from millrace.training.order import BatchPlan, progress_after
from millrace.training.state import LoaderState


@dataclass(frozen=True)
class Outline:
    """The order of a loader's split, the rank's share, and the bound of its memory.

    ``state`` is the beginning of epoch 0, ``lane_rows`` has the rows of all lanes, ``lanes`` are those of the rank.
    """

    state: LoaderState
    lane_rows: tuple[int, ...]
    global_batch_rows: int
    lanes: range
    rank: int
    world_size: int
    threads: int
    prefetch_bytes: int

    @property
    def dataset(self) -> str:
        """The name of the dataset."""
        return self.state.spec.version.partition("@")[0]

    def batch_plan(self, row: int = 0) -> BatchPlan:
        """Return the batches of an epoch from a row of the lanes on."""
        return BatchPlan(self.lane_rows, self.global_batch_rows, self.state.tail, row)

    def state_at(self, epoch: int, row: int) -> dict[str, Any]:
        """Return the state of a position as JSON."""
        return replace(self.state, epoch=epoch, rows=row).to_json()

    def after(self, epoch: int, row: int, batches: int) -> tuple[int, int]:
        """Return the position a number of batches after another."""
        epochs, rows = progress_after(self.batch_plan(row), batches)
        return epoch + epochs, rows

    def rank_rows(self, plan: BatchPlan) -> int:
        """Return the rows that the rank delivers in an epoch."""
        return sum(plan.lane_slice(plan.batches - 1, lane)[1] for lane in self.lanes)
