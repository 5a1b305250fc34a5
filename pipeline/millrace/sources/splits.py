"""Grouping of units that can be read alone into splits of about equal size, up to a maximum number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from millrace.sources.model import SourceFile, Split

__all__ = ["Unit", "group_units", "parts_of"]


@dataclass(frozen=True, slots=True)
class Unit:
    """The smallest part that can be read alone: ``start`` to ``stop`` (exclusive, -1: the end) of one file."""

    file: int
    start: int
    stop: int
    bytes: int
    rows: int | None = None


def group_units(
    units: Sequence[Unit], files: Sequence[SourceFile], *, split_bytes: int, max_splits: int, what: str
) -> tuple[Split, ...]:
    """Group units into splits in their order, each except the last of at least ``split_bytes``.

    There are at most ``max_splits`` splits. ``what`` is the unit of ``start`` and ``stop``, for the label: "bytes",
    "row group" or "batch".
    """
    # Each unit weighs one byte more than its size, because opening even an empty file takes time.
    total = sum(unit.bytes + 1 for unit in units)
    wanted = max(split_bytes, -(-total // max_splits))
    ends = _last_units(files, units)
    splits: list[Split] = []
    group: list[Unit] = []
    weight = 0
    for number, unit in enumerate(units):
        group.append(unit)
        weight += unit.bytes + 1
        if weight >= wanted or number == len(units) - 1:
            splits.append(_join(len(splits), group, files, what, ends))
            group, weight = [], 0
    return tuple(splits)


def _last_units(files: Sequence[SourceFile], units: Sequence[Unit]) -> dict[int, int]:
    return {unit.file: unit.stop for unit in units}


def _join(index: int, group: list[Unit], files: Sequence[SourceFile], what: str, ends: dict[int, int]) -> Split:
    first, last = group[0], group[-1]
    rows = [unit.rows for unit in group]
    whole = first.start == 0 and last.stop == ends[last.file]
    if first.file != last.file:
        label = f"{files[first.file].name} to {files[last.file].name} ({last.file - first.file + 1} files)"
    elif whole:
        label = files[first.file].name
    elif what == "bytes":
        label = f"{files[first.file].name} {first.start / 1e6:.0f}-{last.stop / 1e6:.0f} MB"
    else:
        label = f"{files[first.file].name} {what} {first.start}"
        label += f" to {last.stop - 1}" if last.stop - 1 > first.start else ""
    return Split(
        index=index,
        label=label,
        files=tuple(range(first.file, last.file + 1)),
        start=first.start,
        stop=last.stop,
        bytes=sum(unit.bytes for unit in group),
        rows=None if None in rows else sum(row for row in rows if row is not None),
    )


def parts_of(split: Split) -> list[tuple[int, int, int]]:
    """Return each file of a split as its index, start and stop (-1: the end)."""
    first, last = split.files[0], split.files[-1]
    return [
        (number, split.start if number == first else 0, split.stop if number == last else -1) for number in split.files
    ]
