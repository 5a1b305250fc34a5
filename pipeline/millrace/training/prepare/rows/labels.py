"""The labels of the main input: the moment of prediction and the target, as expressions of SQL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from millrace.errors import UsageError
from millrace.training.prepare.engine import INPUTS, Engine, quoted
from millrace.training.prepare.entry import Preparation

_TARGETS: Final = {
    "BOOLEAN": (pa.bool_(), "BOOLEAN"),
    "VARCHAR": (pa.string(), "VARCHAR"),
    "TINYINT": (pa.int8(), "TINYINT"),
    "SMALLINT": (pa.int16(), "SMALLINT"),
    "INTEGER": (pa.int32(), "INTEGER"),
    "BIGINT": (pa.int64(), "BIGINT"),
    "UTINYINT": (pa.uint8(), "UTINYINT"),
    "USMALLINT": (pa.uint16(), "USMALLINT"),
    "UINTEGER": (pa.uint32(), "UINTEGER"),
    "UBIGINT": (pa.uint64(), "UBIGINT"),
    "HUGEINT": (pa.int64(), "BIGINT"),
    "UHUGEINT": (pa.int64(), "BIGINT"),
    "FLOAT": (pa.float32(), "FLOAT"),
    "DOUBLE": (pa.float64(), "DOUBLE"),
    "DECIMAL": (pa.float64(), "DOUBLE"),
    "ENUM": (pa.string(), "VARCHAR"),
}
"""For each type of DuckDB that a target may have: the stored type, and the type to cast to."""
_TIMES: Final = ("TIMESTAMP", "DATE")


@dataclass(frozen=True, slots=True)
class Labels:
    """Expressions over the main input, each without a name of its own."""

    target_sql: str
    target_type: pa.DataType
    at_sql: str | None
    """Of type TIMESTAMP in UTC."""
    at_has_zone: bool
    """Whether ``at`` has a time zone."""
    source_sql: str
    """The whole main input without NaN, to be put after FROM."""

    @property
    def is_regression(self) -> bool:
        """Return whether the target is a number and not a class."""
        return bool(pa.types.is_floating(self.target_type))


def find_labels(engine: Engine, preparation: Preparation) -> Labels:
    """Return the labels; raise ``UsageError`` where DuckDB refuses an expression, or its type does not fit.

    ``at`` must be valid over the view without the columns of ``after``. It is computed from the table: there it has
    the same columns and thus the same values.
    """
    alias = quoted(preparation.main)
    whole, view = _whole(engine, alias), f"main.{alias} AS {alias}"
    target_sql = _expression(preparation.target)
    kind = _type_name(engine, target_sql, whole, "target")
    if kind not in _TARGETS:
        raise UsageError(
            f"the target is of type {kind}; targets are booleans, texts, whole numbers, or floats",
            hint="compare or cast it in the expression of target",
        )
    stored, cast = _TARGETS[kind]
    at_sql, at_has_zone = (None, False) if preparation.at is None else _at_sql(engine, preparation.at, view)
    return Labels(f"CAST({target_sql} AS {cast})", stored, at_sql, at_has_zone, whole)


def _whole(engine: Engine, alias: str) -> str:
    """Return the main input with null in place of NaN, which SQL compares as the largest number: it has no label."""
    table = f"{INPUTS}.{alias}"
    described = engine.rows(f"DESCRIBE {table}")
    floats = [quoted(name) for name, kind, *_ in described if kind in ("FLOAT", "DOUBLE")]
    columns = ", ".join(f"CASE WHEN isnan({name}) THEN NULL ELSE {name} END AS {name}" for name in floats)
    return f"(SELECT *{f' REPLACE ({columns})' if columns else ''} FROM {table}) AS {alias}"


def _at_sql(engine: Engine, text: str, view: str) -> tuple[str, bool]:
    """Return SQL for the moment of prediction in UTC, and whether its expression has a time zone."""
    sql = _expression(text)
    kind = _type_name(engine, sql, view, "at")
    if not kind.startswith(_TIMES):
        raise UsageError(
            f"at is of type {kind}, which is no date or time",
            hint="give the moment of prediction, such as at: time_hour",
        )
    has_zone = "TIME ZONE" in kind or kind.startswith("TIMESTAMPTZ")
    return utc_sql(sql, has_zone=has_zone, has_nanoseconds=kind.endswith("_NS")), has_zone


def utc_sql(sql: str, *, has_zone: bool, has_nanoseconds: bool = False) -> str:
    """Return SQL for a date or time as TIMESTAMP in UTC, independent of the session's time zone.

    Nanoseconds are cut off: a cast would round them, and a moment of prediction would be later than it is.
    """
    if has_nanoseconds:  # epoch_us does not take nanoseconds with a zone
        return f"make_timestamp(epoch_us(make_timestamp_ns(epoch_ns({sql}))))"
    return f"make_timestamp(epoch_us({sql}))" if has_zone else f"CAST({sql} AS TIMESTAMP)"


def _expression(text: str) -> str:
    # The newline ends a comment in the text.
    return f"({text}\n)"


def _type_name(engine: Engine, sql: str, source: str, subject: str) -> str:
    """Return DuckDB's name of an expression's type, without parameters."""
    ((_, kind, *_),) = engine.rows(f"DESCRIBE SELECT {sql} AS label FROM {source}", subject=subject)
    return str(kind).partition("(")[0]
