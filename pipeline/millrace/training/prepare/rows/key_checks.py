"""The checks of keys and of times: unique keys, keys that fit each other, and joined rows that were known in time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from millrace.errors import UsageError
from millrace.training.prepare.engine import INPUTS, Engine, quoted
from millrace.training.prepare.entry import CutSplits, Preparation
from millrace.training.prepare.rows.labels import Labels, utc_sql
from millrace.training.prepare.rows.placing import AT, RESULT, Placing
from millrace.training.prepare.rows.plan import RowsPlan
from millrace.training.prepare.rows.splitting import has_zone


def check_keys(engine: Engine, preparation: Preparation) -> tuple[int, int]:
    """Return the rows of the main input and of the result; raise ``UsageError`` for keys that repeat or are null."""
    main = f"{INPUTS}.{quoted(preparation.main)}"
    rows_in = _check_unique(engine, main, preparation.key, f"the main input {preparation.main!r}")
    rows = _check_unique(engine, RESULT, preparation.key, "the query's result")
    return rows_in, rows


def _check_unique(engine: Engine, table: str, key: Sequence[str], what: str) -> int:
    names = ", ".join(map(quoted, key))
    nulls = ", ".join(f"count(*) FILTER ({quoted(name)} IS NULL)" for name in key)
    ((rows, *null_rows),) = engine.rows(f"SELECT count(*), {nulls} FROM {table}")
    for name, count in zip(key, null_rows, strict=True):
        if count:
            raise UsageError(
                f"the key column {name!r} is null in {count:,} of {rows:,} rows of {what}",
                hint="choose another key, or leave such rows out",
                column=name,
            )
    ((keys,),) = engine.rows(f"SELECT count(*) FROM (SELECT 1 FROM {table} GROUP BY {names})")
    if keys < rows:
        repeated = (
            f"SELECT {names}, count(*) FROM {table} GROUP BY {names} HAVING count(*) > 1 ORDER BY {names} LIMIT 1"
        )
        ((*values, count),) = engine.rows(repeated)
        raise UsageError(
            f"the key {', '.join(key)} is not unique in {what}: {rows:,} rows have {keys:,} keys; the first repeated "
            f"one is {_shown(values)}, in {count:,} rows",
            hint="add a column to key, or make the query return one row for each key",
            expected=rows,
            actual=keys,
        )
    return int(rows)


def check_joined(preparation: Preparation, *, rows: int, placed: int) -> None:
    """Raise ``UsageError`` where rows of the result have keys that the main input lacks."""
    if placed == rows:
        return
    raise UsageError(
        f"{rows - placed:,} of {rows:,} rows of the query's result have a key that the main input {preparation.main!r} "
        "does not have",
        hint=f"select {', '.join(preparation.key)} unchanged from it",
        expected=rows,
        actual=placed,
    )


def check_zones(preparation: Preparation, plan: RowsPlan, labels: Labels) -> None:
    """Raise ``UsageError`` where only one of ``at`` and a column of ``known``, or a time of a split, has a time zone.

    The other one may be in local time: the comparison would be off by hours. A time of a split may lack it, and is in
    UTC then if ``at`` has one.
    """
    conditions = preparation.splits.conditions if isinstance(preparation.splits, CutSplits) else {}
    for split, text in conditions.items():
        if has_zone(split, text) and not labels.at_has_zone:
            raise UsageError(
                f"{text!r} of split {split!r} has a time zone and at has none, so they cannot be compared",
                hint="leave it out of the condition, or give at the zone in which it was recorded",
            )
    for name in plan.known.values():
        kind = plan.result.field(name).type
        if _type_has_zone(kind) != labels.at_has_zone:
            zoned, other = ("at", repr(name)) if labels.at_has_zone else (repr(name), "at")
            raise UsageError(
                f"{zoned} has a time zone and {other} has none, so they cannot be compared",
                hint=f"give {other} its own zone, as in CAST(... AS TIMESTAMP) AT TIME ZONE 'Asia/Tokyo'",
                column=name,
            )


def _type_has_zone(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind) and kind.tz is not None)


def check_known(engine: Engine, preparation: Preparation, placing: Placing) -> None:
    """Raise ``UsageError`` for the first joined row that was known only after the moment of prediction."""
    known = placing.plan.known
    if not known:
        return
    conditions = {alias: f"{_known_sql(placing, name)} > {AT}" for alias, name in known.items()}
    counts = ", ".join(f"count(*) FILTER ({condition})" for condition in conditions.values())
    ((late_rows),) = engine.rows(f"SELECT {counts} FROM {placing.table}")
    for (alias, name), late in zip(known.items(), late_rows, strict=True):
        if late:
            raise _known_too_late(engine, preparation, placing, alias, name, conditions[alias], late)


def _known_sql(placing: Placing, name: str) -> str:
    column, kind = placing.column(name), placing.plan.result.field(name).type
    has_nanoseconds = pa.types.is_timestamp(kind) and kind.unit == "ns"
    sql = utc_sql(column, has_zone=_type_has_zone(kind), has_nanoseconds=has_nanoseconds)
    if not has_nanoseconds:
        return sql
    # Nanoseconds are cut off there, so a time that has some becomes a microsecond later.
    return f"({sql} + CASE WHEN epoch_ns({column}) % 1000 = 0 THEN INTERVAL 0 SECOND ELSE INTERVAL 1 MICROSECOND END)"


def _known_too_late(
    engine: Engine, preparation: Preparation, placing: Placing, alias: str, name: str, condition: str, late: int
) -> UsageError:
    keys = ", ".join(map(placing.column, preparation.key))
    known = _known_sql(placing, name)
    ((*values, known_at, at),) = engine.rows(
        f"SELECT {keys}, {known}, {AT} FROM {placing.table} WHERE {condition} ORDER BY {keys} LIMIT 1"
    )
    return UsageError(
        f"input {alias!r} is joined before it is known: {name!r} is later than at in {late:,} rows, first in that of "
        f"key {_shown(values)}: known at {_time(known_at)}, prediction at {_time(at)}",
        hint="join only rows that are known by the moment of prediction",
        column=name,
        expected=_time(at),
        actual=_time(known_at),
    )


def _time(value: Any) -> str:
    return f"{value.isoformat(sep=' ')} UTC" if hasattr(value, "isoformat") else str(value)


def _shown(values: Sequence[Any]) -> str:
    return f"({', '.join(map(str, values))})"
