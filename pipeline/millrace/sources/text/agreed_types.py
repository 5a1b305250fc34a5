"""Types of the columns of a text source with a contract: the agreed types, or wider ones where types evolve."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import closing

import pyarrow as pa

from millrace.arrow import widest_type
from millrace.sources.agreement import Agreement
from millrace.sources.row_rules import Reaction
from millrace.sources.text.blocks import Block
from millrace.sources.text.row_separator import Types
from millrace.sources.text.typed_blocks import parse_in_order


def agreed_types(
    agreement: Agreement | None,
    given: Types,
    blocks: Callable[[], Iterable[Block]],
    parse: Callable[[Block, Types], object],
    errors: tuple[type[Exception], ...],
    check: Callable[[Types], None],
) -> Types:
    """Return the agreed types with which columns are parsed, without those whose types are ``given``.

    If types evolve, a column is left out if a value in ``blocks()`` does not fit. Its type is then inferred. ``check``
    raises ``UsageError`` for a type that the format cannot be read as.
    """
    if agreement is None:
        return {}
    types = {field.name: field.type for field in agreement.schema if field.name not in given}
    check(types)
    if agreement.types is not Reaction.EVOLVE:
        return types
    types = {name: kind for name, kind in types.items() if not pa.types.is_null(kind)}
    misfits = _misfits(blocks(), types, parse, errors) if types else set()
    return {name: kind for name, kind in types.items() if name not in misfits}


def _misfits(
    blocks: Iterable[Block],
    types: Types,
    parse: Callable[[Block, Types], object],
    errors: tuple[type[Exception], ...],
) -> set[str]:
    """Return the columns that have a value that does not fit its type."""
    misfits: set[str] = set()
    with closing(parse_in_order(lambda block: (parse(block, types),), blocks, errors)) as parsed_blocks:
        for block, parsed in parsed_blocks:
            if parsed is not None:
                continue
            # A block that cannot be divided into rows and columns shows no types.
            if not _fits(block, {}, parse, errors):
                continue
            misfits |= {n for n in types.keys() - misfits if not _fits(block, {n: types[n]}, parse, errors)}
    return misfits


def _fits(
    block: Block, types: Types, parse: Callable[[Block, Types], object], errors: tuple[type[Exception], ...]
) -> bool:
    try:
        parse(block, types)
    except errors:
        return False
    return True


def planned_schema(agreement: Agreement | None, types: Types, missing: Iterable[str], owner: str) -> pa.Schema:
    """Return the schema of columns with these types, which are ``agreed_types`` or inferred ones.

    ``missing`` are the columns that a file lacks. A column with values that no wider type holds keeps its agreed type:
    these values are refused or set aside when they are read.
    """
    if agreement is None:
        return pa.schema(list(types.items()))
    agreed, lacks = {field.name: field.type for field in agreement.schema}, set(missing)
    fields = [
        pa.field(
            name,
            (widest_type([agreed[name], kind]) or agreed[name]) if name in agreed else kind,
            agreement.nullable(name, may_be_null=True, owner=owner, is_missing=name in lacks),
        )
        for name, kind in types.items()
    ]
    return pa.schema(fields, agreement.schema.metadata)
