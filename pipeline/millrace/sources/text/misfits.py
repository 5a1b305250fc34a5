"""Search for the rows of a block that do not fit, by parsing pieces of the block."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from millrace.sources.text.blocks import Block

_NO_LINE_ENDS = bytes(set(range(256)) - set(b"\r\n"))
_PIECE_ROWS = 128
"""Measured with 1 % bad rows of 19 columns: 64 to 512 are within a quarter of each other."""


class Misfit(NamedTuple):
    """A row that does not fit, by its number in the block.

    ``column`` is empty where the whole row is the reason. ``is_value`` is true where the row is well formed, and a
    value does not fit the type of its column.
    """

    row: int
    column: str
    reason: str
    is_value: bool


class Failure(NamedTuple):
    """A failed attempt to parse some rows; ``row`` is the number of the failing one, or None if it is not known."""

    row: int | None
    column: str
    reason: str
    is_value: bool


@dataclass(frozen=True, slots=True)
class Records:
    """Some records of a block: the offsets at which they begin and end, and their numbers in the whole block."""

    block: Block
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]
    numbers: NDArray[np.int64]

    @classmethod
    def of(cls, block: Block, starts: NDArray[np.int64]) -> Self:
        """Return all records of a block."""
        stops = np.append(starts[1:], len(block.data))
        return cls(block, starts, stops, np.arange(len(starts)))

    def __len__(self) -> int:
        return len(self.starts)

    def without(self, numbers: Iterable[int]) -> Self:
        """Return the records that do not have these numbers."""
        kept = ~np.isin(self.numbers, list(numbers))
        return replace(self, starts=self.starts[kept], stops=self.stops[kept], numbers=self.numbers[kept])

    def only(self, numbers: Iterable[int]) -> Self:
        """Return the records that have these numbers."""
        kept = np.isin(self.numbers, list(numbers))
        return replace(self, starts=self.starts[kept], stops=self.stops[kept], numbers=self.numbers[kept])

    def part(self, start: int, stop: int) -> Block:
        """Return the records from ``start`` to ``stop`` as a block; the last one ends with a line end."""
        data = b"".join(_joined(self.block.data, self.starts[start:stop], self.stops[start:stop]))
        if data and not data.endswith((b"\n", b"\r")):
            data += b"\n"
        return replace(self.block, data=data)

    def not_utf8(self) -> set[int]:
        """Return the numbers of the records that are not UTF-8."""
        if is_utf8(self.block.data):
            return set()
        return {number for number in self.numbers.tolist() if not is_utf8(self.record(number))}

    def blanked(self, numbers: Iterable[int]) -> Block:
        """Return the whole block with only the line ends of these records, so that the others keep their lines."""
        data = bytearray(self.block.data)
        for number in sorted(numbers, reverse=True):
            index = int(np.searchsorted(self.numbers, number))
            start, stop = int(self.starts[index]), int(self.stops[index])
            data[start:stop] = data[start:stop].translate(None, _NO_LINE_ENDS)
        return replace(self.block, data=bytes(data))

    def start_of(self, number: int) -> int:
        """Return the offset in the block at which the record with this number begins."""
        return int(self.starts[np.searchsorted(self.numbers, number)])

    def record(self, number: int) -> bytes:
        """Return the bytes of the record with this number."""
        index = int(np.searchsorted(self.numbers, number))
        return self.block.data[int(self.starts[index]) : int(self.stops[index])]


def is_utf8(data: bytes) -> bool:
    """Return whether bytes are UTF-8."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _joined(data: bytes, starts: NDArray[np.int64], stops: NDArray[np.int64]) -> Iterable[bytes]:
    """Yield the ranges of the data, consecutive ones as one."""
    if not len(starts):
        return
    breaks = np.flatnonzero(starts[1:] != stops[:-1])
    firsts, lasts = np.append(0, breaks + 1), np.append(breaks, len(starts) - 1)
    for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True):
        yield data[int(starts[first]) : int(stops[last])]


def search(records: Records, attempt: Callable[[Block, int], Failure | None]) -> list[Misfit]:
    """Return the misfits of the records, in their order.

    ``attempt(block, rows)`` parses a part of the records and returns None if all of its rows fit. It is called for all
    of them first, and then for parts from front to back until all that is left fits.
    """
    misfits: list[Misfit] = []
    while len(records) and attempt(records.part(0, len(records)), len(records)) is not None:
        more = _misfits_in_parts(records, attempt)
        if not more:
            break
        misfits += more
        records = records.without(misfit.row for misfit in more)
    return sorted(misfits)


def _misfits_in_parts(records: Records, attempt: Callable[[Block, int], Failure | None]) -> list[Misfit]:
    """Return misfits of the records; the rows before a named one may have further misfits."""
    misfits: list[Misfit] = []
    waiting = [(at, min(at + _PIECE_ROWS, len(records))) for at in range(0, len(records), _PIECE_ROWS)][::-1]
    while waiting:
        start, stop = waiting.pop()
        failure = attempt(records.part(start, stop), stop - start)
        if failure is None:
            continue
        if failure.row is None and stop - start > 1:
            middle = (start + stop) // 2
            waiting += [(middle, stop), (start, middle)]
            continue
        row = start + (failure.row or 0)
        misfits.append(Misfit(int(records.numbers[row]), failure.column, failure.reason, failure.is_value))
        if row + 1 < stop:
            # Most parsers stop at the first misfit, so the rows before it are parsed again only with all others.
            waiting.append((row + 1, stop))
    return misfits
