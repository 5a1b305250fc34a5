"""Inference of a CSV's column types like in ``pyarrow.csv.read_csv``, block by block in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pyarrow as pa

from millrace.sources.csv.block_errors import BlockErrors
from millrace.sources.csv.parser import CsvParser
from millrace.sources.text.blocks import Block
from millrace.sources.text.row_separator import Types
from millrace.sources.text.typed_blocks import parse_in_order

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
    blocks: Callable[[], Iterable[Block]],
    parser: CsvParser,
    errors: BlockErrors,
    names: tuple[str, ...],
    given: Types,
) -> Types:
    """Return for each column the first type of ``_LADDER`` that fits all of its values in ``blocks``.

    ``blocks()`` must return the same blocks on every call. ``given`` types are not inferred. A block that no types fit
    (a ragged row, a value that does not have its given type) and text that is not UTF-8 raise one of ``errors``.
    """
    inferred: Types = {}
    uncertain: set[str] = set()

    def parse_ahead(block: Block) -> pa.Schema:
        return parser.parse(block, {**inferred, **given}, names).schema

    free = [name for name in names if name not in given]
    for block, parsed in parse_in_order(parse_ahead, blocks(), (pa.ArrowInvalid,)):
        schema = _block_schema(block, parser, errors, names, given) if parsed is None else parsed
        for name in free:
            kind, current = schema.field(name).type, inferred.get(name, pa.null())
            if pa.types.is_binary(kind):
                raise errors.not_utf8(block)
            if kind != current:
                inferred[name] = max(kind, current, key=_LADDER.index)
                if not _fits_by_itself(current, kind):
                    uncertain.add(name)
    types = {name: inferred.get(name, pa.null()) for name in free}
    return {**_confirmed(blocks, parser, types, uncertain), **given}


def _block_schema(
    block: Block, parser: CsvParser, errors: BlockErrors, names: tuple[str, ...], given: Types
) -> pa.Schema:
    """Return the types of a block alone."""
    try:
        return parser.parse(block, given, names).schema
    except pa.ArrowInvalid as error:
        raise errors.unparsed(block, error, given) from None


def _fits_by_itself(one: pa.DataType, other: pa.DataType) -> bool:
    """Return whether the later type of ``_LADDER`` fits every value of the earlier one, without another parse."""
    low, high = sorted((one, other), key=_LADDER.index)
    return pa.types.is_null(low) or high == pa.string() or (low, high) == (pa.int64(), pa.float64())


def _confirmed(blocks: Callable[[], Iterable[Block]], parser: CsvParser, types: Types, uncertain: set[str]) -> Types:
    """Parse columns again whose blocks have different types, with the next type each time a value does not fit."""
    unconfirmed = {name for name in uncertain if types[name] != pa.string()}
    while unconfirmed:
        failed: set[str] = set()
        for block in blocks():
            for name in sorted(unconfirmed - failed):
                try:
                    parser.parse(block, {name: types[name]}, [name])
                except pa.ArrowInvalid:
                    failed.add(name)
        for name in failed:
            types[name] = _LADDER[_LADDER.index(types[name]) + 1]
        unconfirmed = {name for name in failed if types[name] != pa.string()}
    return types
