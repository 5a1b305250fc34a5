"""One batch of a mixture: rows of several datasets, copied once to their places."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import pyarrow as pa

from millrace.training.columns import ColumnPlan, Plan, RaggedPlan

Columns = Mapping[str, Any]
"""An array for each column, by name: NumPy for a ``ColumnPlan``, Arrow for a ``RaggedPlan``."""


class Piece(NamedTuple):
    """The rows [first, stop) of each lane in a block, which has ``rows`` rows of every lane, one lane after another."""

    columns: Columns
    rows: int
    first: int
    stop: int


class LaneRows:
    """The rows of a dataset's lanes, taken from blocks in order, equally many of every lane at a time."""

    def __init__(self, blocks: Iterator[tuple[Columns, int]]) -> None:
        self._blocks = blocks
        self._columns: Columns = {}
        self._rows = self._used = 0

    def pieces(self, rows: int) -> Iterator[Piece]:
        """Yield the next ``rows`` rows of every lane. A piece is valid until the next one is asked for."""
        while rows:
            if self._used == self._rows:
                self._columns = {}
                self._columns, self._rows = next(self._blocks)
                self._used = 0
            first = self._used
            self._used = min(self._rows, first + rows)
            rows -= self._used - first
            yield Piece(self._columns, self._rows, first, self._used)


class MixedBatch:
    """The columns of a batch while they are filled."""

    def __init__(self, plans: Sequence[Plan], rows: int) -> None:
        self._arrays = {plan.name: plan.allocate(rows) for plan in plans if isinstance(plan, ColumnPlan)}
        self._ragged: dict[str, list[tuple[int, pa.Array]]] = {
            plan.name: [] for plan in plans if isinstance(plan, RaggedPlan)
        }

    def write(self, piece: Piece, lane: int, row: int) -> None:
        """Copy the rows of one lane of a piece to ``row`` and after; Arrow arrays are copied at the end."""
        first, rows = lane * piece.rows + piece.first, piece.stop - piece.first
        for name, array in self._arrays.items():
            array[row : row + rows] = piece.columns[name][first : first + rows]
        for name, parts in self._ragged.items():
            parts.append((row, piece.columns[name].slice(first, rows)))

    def columns(self) -> Columns:
        """Return the columns of the full batch."""
        ragged = {
            name: pa.concat_arrays([part for _, part in sorted(parts, key=lambda part: part[0])])
            for name, parts in self._ragged.items()
        }
        return {**self._arrays, **ragged}


def lane_places(lanes: Sequence[int], groups: int, lane_rows: Sequence[int]) -> list[list[int]]:
    """Return for each dataset the row of the batch at which the rows of each of its lanes begin.

    ``lanes`` and ``lane_rows`` are the lanes of each dataset and the rows that each of them gives. A batch is group
    after group; a group has an equal number of lanes of each dataset, dataset after dataset. A rank has whole groups,
    so the batches of all ranks one after another are the global batch.
    """
    group_lanes = [count // groups for count in lanes]
    sizes = [count * rows for count, rows in zip(group_lanes, lane_rows, strict=True)]
    starts = [0, *accumulate(sizes)]
    return [
        [lane // each * starts[-1] + starts[dataset] + lane % each * rows for lane in range(groups * each)]
        for dataset, (each, rows) in enumerate(zip(group_lanes, lane_rows, strict=True))
    ]
