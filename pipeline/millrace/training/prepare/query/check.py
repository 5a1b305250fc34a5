"""Check the query of a preparation against its inputs, and find what it needs of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from millrace.errors import UsageError
from millrace.names import nearest
from millrace.training.prepare.entry import ALWAYS, Preparation
from millrace.training.prepare.query.allowed import RESERVED, check_allowed
from millrace.training.prepare.query.checked import CheckedQuery, InputNeed
from millrace.training.prepare.query.columns import ColumnUses
from millrace.training.prepare.query.expression import expression_columns
from millrace.training.prepare.query.known import check_always, check_times
from millrace.training.prepare.query.order import depends_on_order
from millrace.training.prepare.query.parsed import parsed_select
from millrace.training.prepare.query.pushdown import pushed_filter
from millrace.training.prepare.query.statement import check_statement
from millrace.training.prepare.query.tables import TableFinder, TableUse


def check_query(preparation: Preparation, schemas: Mapping[str, pa.Schema]) -> CheckedQuery:
    """Return the query with the columns and filters that it needs of each input.

    ``schemas`` has the columns of each input by alias. Raises ``UsageError``, in one line, for a query that is not one
    SELECT over the declared inputs, or whose result could differ from run to run, and for an unknown column.
    """
    main_columns = _main_columns(preparation, schemas)
    what = f"the query of {preparation.name}"
    try:
        tree = parsed_select(preparation.query, what)
        check_allowed(tree, preparation.query, what)
        check_statement(preparation.query, what)
        uses = TableFinder(preparation.inputs, preparation.query, what).uses(tree)
    except RecursionError:
        raise UsageError(f"{what} is nested too deeply", hint="write it in parts, by WITH") from None
    visible = {alias: _visible(alias, preparation, schemas) for alias in preparation.inputs}
    check_times(preparation, tree, uses, visible)
    used = ColumnUses(uses, visible).of(tree)
    check_always(preparation, used)
    used[preparation.main] |= {name.lower() for name in main_columns}
    needs = {
        alias: InputNeed(
            _ordered(used[alias], alias, schemas[alias]),
            _filter(alias, preparation, uses, schemas),
        )
        for alias in preparation.inputs
    }
    return CheckedQuery(preparation.query, needs, depends_on_order(tree))


def _main_columns(preparation: Preparation, schemas: Mapping[str, pa.Schema]) -> set[str]:
    """Return the columns of the main input that the key, ``at`` and ``target`` use, all of them checked."""
    _check_aliases(preparation, schemas)
    names = schemas[preparation.main].names
    for field in ("key", "after"):
        for name in getattr(preparation, field):
            _check_known(name, names, f"{field} of {preparation.name}", preparation.main)
    if later := sorted(set(preparation.key) & set(preparation.after)):
        raise UsageError(f"column {later[0]!r} of {preparation.name} is in key and in after", hint="leave it in one")
    target = expression_columns(preparation.target, names, f"target of {preparation.name}")
    before = [name for name in names if name not in preparation.after]
    at: frozenset[str] = frozenset()
    if preparation.at is not None:
        at = expression_columns(preparation.at, names, f"at of {preparation.name}")
        if later := sorted(at & set(preparation.after)):
            raise UsageError(
                f"at of {preparation.name} uses {later[0]!r}, which is in after and so not known at that moment",
                hint=f"use columns that are known before: {', '.join(before[:10])}",
                column=later[0],
            )
    return {*preparation.key, *target, *at}


def _check_aliases(preparation: Preparation, schemas: Mapping[str, pa.Schema]) -> None:
    lowered = [alias.lower() for alias in preparation.inputs]
    for alias in preparation.inputs:
        if alias.lower().startswith(RESERVED) or lowered.count(alias.lower()) > 1 or alias not in schemas:
            raise UsageError(
                f"{alias!r} cannot be the alias of an input of {preparation.name}",
                hint=f"use names that differ in more than upper case and do not begin with {RESERVED}",
            )
    for alias in preparation.known:
        _check_known(alias, list(preparation.inputs), f"known of {preparation.name}", "inputs")
    missing = [alias for alias in list(preparation.inputs)[1:] if alias not in preparation.known]
    if missing:
        raise UsageError(
            f"known of {preparation.name} does not say when the rows of input {missing[0]!r} are known",
            hint=f"give a column of the result, or '{ALWAYS}' for rows that do not change with time",
        )


def _check_known(name: str, names: Sequence[str], what: str, where: str) -> None:
    if name not in names:
        near = nearest(name, names)
        listed = ", ".join(names[:10])
        hint = f"did you mean {near[0]}?" if near else f"there are {listed}"
        raise UsageError(f"{what} names {name!r}, which is not in {where}", hint=hint, actual=name)


def _visible(alias: str, preparation: Preparation, schemas: Mapping[str, pa.Schema]) -> list[str]:
    hidden = preparation.after if alias == preparation.main else ()
    return [name for name in schemas[alias].names if name not in hidden]


def _ordered(used: set[str], alias: str, schema: pa.Schema) -> tuple[str, ...]:
    """Return the used columns in the order of the schema; one at least, because a table must have a column."""
    names = tuple(name for name in schema.names if name.lower() in used)
    if reserved := [name for name in names if name.lower().startswith(RESERVED)]:
        raise UsageError(
            f"column {reserved[0]!r} of input {alias!r} cannot be used: names that begin with {RESERVED} are reserved",
            hint="load the dataset with another name for the column",
        )
    if len({name.lower() for name in names}) < len(names):
        raise UsageError(
            f"input {alias!r} has columns whose names differ in upper case only", hint="load it with other names"
        )
    return names or (min(schema, key=_width).name,)


def _width(field: pa.Field) -> int:
    try:
        return int(field.type.bit_width)
    except ValueError:
        return 1 << 30


def _filter(alias: str, preparation: Preparation, uses: Sequence[TableUse], schemas: Mapping[str, Any]) -> str | None:
    """Return the filter of an input; the main one has none, because its key is checked over all rows."""
    own = [use for use in uses if use.input == alias]
    if alias == preparation.main or len(own) != 1:
        return None
    return pushed_filter(own[0], uses, schemas)
