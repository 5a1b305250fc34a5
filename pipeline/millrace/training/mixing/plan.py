"""Which rows of each dataset a mixture hands out: a function of the rows that the mixture has handed out."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from itertools import count
from typing import NamedTuple

from millrace.errors import UsageError
from millrace.training.mixing.shares import shares
from millrace.training.order import BatchPlan, Tail, lane_batch_rows


class Stop(StrEnum):
    """The end of a mixture's epoch."""

    FIRST = "first"
    """The first dataset is used up. The other datasets begin anew in the next epoch."""
    ALL = "all"
    """Each dataset was used up at least once. Smaller datasets go on with their next epochs until then."""


@dataclass(frozen=True)
class Part:
    """One dataset of a mixture. ``lane_rows`` rows of each lane make one epoch of the dataset."""

    version: str
    weight: int
    lanes: int
    lane_rows: int


class Stretch(NamedTuple):
    """Consecutive rows of every lane of a dataset, within one epoch of it."""

    epoch: int
    first: int
    stop: int


@dataclass(frozen=True)
class MixPlan:
    """The batches of a mixture, as functions of the rows that its epoch has handed out.

    The rows are shared in units. A unit has equally many rows of every lane of its dataset, whichever dataset gives it.
    """

    parts: tuple[Part, ...]
    global_batch_rows: int
    stop: Stop

    def __post_init__(self) -> None:
        lane_batch_rows(self.global_batch_rows, self.unit_rows)
        self._check_parts()

    @cached_property
    def unit_rows(self) -> int:
        """The rows of a unit."""
        return math.lcm(*(part.lanes for part in self.parts))

    @cached_property
    def groups(self) -> int:
        """The groups into which the lanes of every dataset can be divided equally; a rank has whole groups."""
        return math.gcd(*(part.lanes for part in self.parts))

    @cached_property
    def epoch_rows(self) -> int:
        """The rows of an epoch, before the last batch is left out (``FIRST``) or filled (``ALL``)."""
        ends = [self._units_until(number) for number in range(len(self.parts))]
        return self.unit_rows * (min(ends) if self.stop is Stop.FIRST else max(ends))

    @cached_property
    def epochs_of_parts(self) -> tuple[int, ...]:
        """The epochs of each dataset that an epoch of the mixture begins. No batch size changes them."""
        handed_out = self.lane_rows_after(self.epoch_rows)
        return tuple(max(1, -(-rows // part.lane_rows)) for part, rows in zip(self.parts, handed_out, strict=True))

    def batches_from(self, rows: int) -> BatchPlan:
        """Return the batches of an epoch after ``rows`` rows, as those of one lane with the rows of all datasets."""
        tail = Tail.DROP_LAST if self.stop is Stop.FIRST else Tail.PAD
        return BatchPlan((self.epoch_rows,), self.global_batch_rows, tail, rows)

    def end_row(self, rows: int) -> int:
        """Return the rows of an epoch that are handed out at its end, if ``rows`` are at present."""
        return rows + self.batches_from(rows).batches * self.global_batch_rows

    def lane_rows_after(self, rows: int) -> list[int]:
        """Return for each dataset the rows of every lane among the first ``rows`` rows of an epoch."""
        given = shares([part.weight for part in self.parts], rows // self.unit_rows)
        return [units * (self.unit_rows // part.lanes) for units, part in zip(given, self.parts, strict=True)]

    def stretches(self, number: int, epoch: int, first: int, stop: int) -> list[Stretch]:
        """Return the rows [first, stop) that each lane of a dataset hands out in an epoch of the mixture.

        They are one stretch for each epoch of the dataset.
        """
        lane_rows = self.parts[number].lane_rows
        first_epoch = epoch * self.epochs_of_parts[number]
        return [
            Stretch(first_epoch + each, max(first - each * lane_rows, 0), min(stop - each * lane_rows, lane_rows))
            for each in range(first // lane_rows, -(-stop // lane_rows))
        ]

    def all_stretches(self, number: int, epoch: int, rows: int) -> Iterator[Stretch]:
        """Yield all that each lane of a dataset hands out after ``rows`` rows of an epoch, epoch after epoch."""
        for each in count(epoch):
            first, stop = (self.lane_rows_after(end)[number] for end in (rows, self.end_row(rows)))
            yield from self.stretches(number, each, first, stop)
            rows = 0

    def position(self, number: int, epoch: int, rows: int) -> tuple[int, int]:
        """Return a dataset's epoch, and the rows of every lane in it, after ``rows`` rows of the mixture's epoch."""
        epochs, row = divmod(self.lane_rows_after(rows)[number], self.parts[number].lane_rows)
        return epoch * self.epochs_of_parts[number] + epochs, row

    def _check_parts(self) -> None:
        for part in self.parts:
            if not part.lane_rows:
                raise UsageError(
                    f"{part.version} has fewer rows than its {part.lanes} lanes",
                    hint="use fewer lanes",
                    version=part.version,
                    lanes=part.lanes,
                )
        if self.stop is Stop.FIRST and self.epoch_rows < self.global_batch_rows:
            raise UsageError(
                f"the mixture has {self.epoch_rows} rows until its first dataset is used up, and no full batch of "
                f"{self.global_batch_rows} rows",
                hint="use a smaller global_batch_rows, or stop='all'",
                rows=self.epoch_rows,
                global_batch_rows=self.global_batch_rows,
            )
        for part, rows in zip(self.parts, self.lane_rows_after(self.end_row(0)), strict=True):
            if not rows:
                raise UsageError(
                    f"an epoch of the mixture has no row of {part.version}",
                    hint="use a larger weight, or leave the dataset out",
                    version=part.version,
                )

    def _units_until(self, number: int) -> int:
        """Return the units of all datasets at which one is used up: the last that it can give, or that it must give."""
        part = self.parts[number]
        lane_rows_of_unit = self.unit_rows // part.lanes
        weights = [each.weight for each in self.parts]
        if self.stop is Stop.FIRST:
            return _first_units(weights, number, part.lane_rows // lane_rows_of_unit + 1) - 1
        return _first_units(weights, number, -(-part.lane_rows // lane_rows_of_unit))


def _first_units(weights: Sequence[int], number: int, share: int) -> int:
    """Return the least number of units of which the dataset ``number`` gives ``share``."""
    most = -(-(2 * share + len(weights)) * sum(weights) // weights[number])
    return bisect_left(range(most), share, key=lambda units: shares(weights, units)[number])
