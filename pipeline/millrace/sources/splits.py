"""Grouping of units, the smallest parts that can be read alone, into a limited number of splits of about equal size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from millrace.sources.model import FilePart, SourceFile, SourcePlan, Split
from millrace.sources.options import SourceOptions


@dataclass(frozen=True, slots=True)
class Unit:
    """The smallest part that can be read alone: ``start`` to ``stop`` (exclusive, -1: the end) of one file.

    ``line`` is the number of the line at ``start``, and 0 where it is not known.
    """

    file: int
    start: int
    stop: int
    bytes: int
    rows: int | None = None
    line: int = 0


def group_units(
    units: Sequence[Unit], files: Sequence[SourceFile], *, split_bytes: int, max_splits: int, unit_name: str
) -> tuple[Split, ...]:
    """Group units into splits in their order, each except the last of at least ``split_bytes``.

    There are at most ``max_splits`` splits. ``unit_name`` is the unit of ``start`` and ``stop``, for the label:
    "bytes", "row group" or "batch".
    """
    # Each unit weighs one byte more than its size, because opening even an empty file takes time.
    total = sum(unit.bytes + 1 for unit in units)
    group_bytes = max(split_bytes, -(-total // max_splits))
    ends = {unit.file: unit.stop for unit in units}
    splits: list[Split] = []
    group: list[Unit] = []
    weight = 0
    for number, unit in enumerate(units):
        group.append(unit)
        weight += unit.bytes + 1
        if weight >= group_bytes or number == len(units) - 1:
            splits.append(_join(len(splits), group, files, unit_name, ends))
            group, weight = [], 0
    return tuple(splits)


def _join(index: int, group: list[Unit], files: Sequence[SourceFile], unit_name: str, ends: dict[int, int]) -> Split:
    first, last = group[0], group[-1]
    rows = [unit.rows for unit in group]
    is_whole_file = first.start == 0 and last.stop == ends[last.file]
    if first.file != last.file:
        label = f"{files[first.file].name} to {files[last.file].name} ({last.file - first.file + 1} files)"
    elif is_whole_file:
        label = files[first.file].name
    elif unit_name == "bytes":
        label = f"{files[first.file].name} {first.start / 1e6:.0f}-{last.stop / 1e6:.0f} MB"
    else:
        label = f"{files[first.file].name} {unit_name} {first.start}"
        label += f" to {last.stop - 1}" if last.stop - 1 > first.start else ""
    return Split(
        index=index,
        label=label,
        files=tuple(range(first.file, last.file + 1)),
        start=first.start,
        stop=last.stop,
        bytes=sum(unit.bytes for unit in group),
        rows=None if None in rows else sum(row for row in rows if row is not None),
        line=first.line,
    )


def parts_of(split: Split) -> list[FilePart]:
    """Return the parts of the files of a split."""
    first, last = split.files[0], split.files[-1]
    return [
        FilePart(number, split.start if number == first else 0, split.stop if number == last else -1)
        for number in split.files
    ]


def plan_of_units(
    format_: str,
    uri: str,
    files: tuple[SourceFile, ...],
    options: SourceOptions,
    schema: pa.Schema,
    units: Sequence[Unit],
    unit_name: str,
    kind: Literal["table", "bytes"] = "table",
) -> SourcePlan:
    """Return the plan of files that are read in these units; the total of rows is known if that of each unit is."""
    splits = group_units(
        units, files, split_bytes=options.split_bytes, max_splits=options.max_splits, unit_name=unit_name
    )
    rows = [unit.rows for unit in units]
    total_rows = None if None in rows else sum(row for row in rows if row is not None)
    total_bytes = sum(file.size_bytes for file in files)
    return SourcePlan(uri, format_, kind, schema, files, splits, total_bytes, total_rows, options)
