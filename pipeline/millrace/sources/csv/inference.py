"""Inference of a CSV's column types like in ``pyarrow.csv.read_csv``, block by block in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pyarrow as pa

from millrace.sources.csv.parser import CsvParser
from millrace.sources.text.blocks import Block
from millrace.sources.text.parsing import parse_in_order

__all__ = ["infer_types"]

_LADDER: tuple[pa.DataType, ...] = (
    pa.null(),
    pa.int64(),
    pa.bool_(),
    pa.date32(),
    pa.time32("s"),
    pa.timestamp("s"),
    pa.timestamp("s", "UTC"),
    pa.timestamp("ns"),
    pa.timestamp("ns", "UTC"),
    pa.float64(),
    pa.string(),
)
"""pyarrow tries these types in this order until one fits all values of a column."""


def infer_types(
    blocks: Callable[[], Iterable[tuple[Block, tuple[str, ...]]]],
    parser: CsvParser,
    names: tuple[str, ...],
    given: dict[str, pa.DataType],
    refuse: Callable[[Block, tuple[str, ...], pa.ArrowInvalid, dict[str, pa.DataType]], Exception],
    refuse_text: Callable[[Block], Exception],
) -> dict[str, pa.DataType]:
    """Return for each column the first type of ``_LADDER`` that fits all of its values in ``blocks``.

    ``blocks()`` must return the same blocks (with their file's column names) on every call. ``given`` types are not
    inferred. A block that no types fit (a ragged row, a value that does not have its given type) raises the error that
    ``refuse`` returns. Text that is not UTF-8 raises the error that ``refuse_text`` returns.
    """
    found: dict[str, pa.DataType] = {}
    doubtful: set[str] = set()

    def attempt(item: tuple[Block, tuple[str, ...]]) -> pa.Schema:
        block, order = item
        return parser.parse(block.data, order, {**found, **given}, list(names)).schema

    for (block, order), future in parse_in_order(attempt, blocks()):
        error = future.exception()
        if error is None:
            schema = future.result()
        elif isinstance(error, pa.ArrowInvalid):
            try:
                schema = parser.parse(block.data, order, given, list(names)).schema
            except pa.ArrowInvalid as second:
                raise refuse(block, order, second, given) from None
        else:
            raise error
        for name in names:
            if name in given:
                continue
            kind, now = schema.field(name).type, found.get(name, pa.null())
            if pa.types.is_binary(kind):
                raise refuse_text(block)
            if kind != now:
                found[name] = max(kind, now, key=_LADDER.index)
                if not _fits_by_itself(now, kind):
                    doubtful.add(name)
    settled = {name: found.get(name, pa.null()) for name in names if name not in given}
    return {**_settle(blocks, parser, settled, doubtful), **given}


def _fits_by_itself(one: pa.DataType, other: pa.DataType) -> bool:
    """Return whether the later type of ``_LADDER`` fits every value of the earlier one, without another parse."""
    low, high = sorted((one, other), key=_LADDER.index)
    return pa.types.is_null(low) or high == pa.string() or (low, high) == (pa.int64(), pa.float64())


def _settle(
    blocks: Callable[[], Iterable[tuple[Block, tuple[str, ...]]]],
    parser: CsvParser,
    found: dict[str, pa.DataType],
    doubtful: set[str],
) -> dict[str, pa.DataType]:
    """Parse columns again whose blocks have different types, with the next type each time a value does not fit."""
    unsure = {name for name in doubtful if found[name] != pa.string()}
    while unsure:
        failed: set[str] = set()
        for block, order in blocks():
            for name in sorted(unsure - failed):
                try:
                    parser.parse(block.data, order, {name: found[name]}, [name])
                except pa.ArrowInvalid:
                    failed.add(name)
        for name in failed:
            found[name] = _LADDER[_LADDER.index(found[name]) + 1]
        unsure = {name for name in failed if found[name] != pa.string()}
    return found
