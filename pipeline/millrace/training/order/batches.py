"""Batches of an epoch: which rows of each lane, how many batches, and how many rows are dropped or padded."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from millrace.errors import UsageError
from millrace.training.order.ranks import lane_batch_rows
from millrace.training.order.spec import Tail


@dataclass(frozen=True)
class BatchPlan:
    """The batches of one epoch, from the row that every lane has reached.

    ``lane_rows`` has the rows of all lanes, not only of those of a rank, so every rank counts the same batches.
    """

    lane_rows: tuple[int, ...]
    global_batch_rows: int
    tail: Tail
    from_row: int = 0

    def __post_init__(self) -> None:
        lane_batch_rows(self.global_batch_rows, self.lanes)
        self._check_rows()

    @property
    def lanes(self) -> int:
        """The number of lanes."""
        return len(self.lane_rows)

    @property
    def lane_batch_rows(self) -> int:
        """The rows that each lane gives to a batch."""
        return self.global_batch_rows // self.lanes

    @cached_property
    def batches(self) -> int:
        """The batches of the epoch that begin at or after ``from_row``; equally many for every rank."""
        least, most = (max(0, rows - self.from_row) for rows in (min(self.lane_rows), max(self.lane_rows)))
        match self.tail:
            case Tail.DROP_LAST:
                return least // self.lane_batch_rows
            case Tail.PAD:
                return -(-most // self.lane_batch_rows)
            case Tail.UNEVEN:
                return max(-(-least // self.lane_batch_rows), min(most, 1))

    @property
    def dropped_rows(self) -> int:
        """The rows of all lanes that the epoch does not deliver."""
        return sum(max(0, rows - self._end_row) for rows in self.lane_rows) if self.tail is Tail.DROP_LAST else 0

    @property
    def padded_rows(self) -> int:
        """The rows of all lanes that the epoch delivers once more."""
        return sum(max(0, self._end_row - rows) for rows in self.lane_rows) if self.tail is Tail.PAD else 0

    def lane_slice(self, batch: int, lane: int) -> tuple[int, int]:
        """Return the positions [first, stop) of a lane in a batch; batch 0 begins at ``from_row``.

        Under ``Tail.PAD`` they may exceed the lane: position p is then row ``(p - first_row) % rows`` of the lane's
        last window. The last batch of ``Tail.UNEVEN`` goes to the end of each lane.
        """
        if not 0 <= batch < self.batches:
            raise IndexError(f"batch {batch} of {self.batches}")
        first = self.from_row + batch * self.lane_batch_rows
        if self.tail is Tail.UNEVEN and batch == self.batches - 1:
            return min(first, self.lane_rows[lane]), self.lane_rows[lane]
        return first, first + self.lane_batch_rows

    @property
    def _end_row(self) -> int:
        return self.from_row + self.batches * self.lane_batch_rows

    def _check_rows(self) -> None:
        rows = sum(self.lane_rows)
        if not 0 <= self.from_row <= max(self.lane_rows):
            raise UsageError(
                f"a state with {self.from_row} rows handed out does not fit lanes of {max(self.lane_rows)} rows",
                hint="use the state of the same dataset",
            )
        if rows == 0 or (self.tail is Tail.PAD and min(self.lane_rows) == 0):
            raise UsageError(
                f"{rows} rows cannot fill {self.lanes} lanes",
                hint=f"use at most {rows} lanes" if rows else "use a split with rows",
                rows=rows,
                lanes=self.lanes,
            )
        if self.from_row == 0 and self.batches == 0:
            raise UsageError(
                f"{rows} rows do not have one full batch of {self.global_batch_rows} rows",
                hint=f"use global_batch_rows of at most {min(self.lane_rows) * self.lanes}, or tail 'pad' or 'uneven'",
                rows=rows,
                global_batch_rows=self.global_batch_rows,
            )


def progress_after(plan: BatchPlan, batches: int) -> tuple[int, int]:
    """Return the epochs that ``batches`` batches complete, and the rows of every lane handed out in the next epoch.

    The first of the batches is batch 0 of ``plan``; the epochs after that of ``plan`` begin at row 0.
    """
    if batches < plan.batches:
        return 0, plan.from_row + batches * plan.lane_batch_rows
    epochs, rest = divmod(batches - plan.batches, replace(plan, from_row=0).batches)
    return 1 + epochs, rest * plan.lane_batch_rows
