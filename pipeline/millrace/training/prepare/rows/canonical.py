r"""The canonical text of a key, and the hashes that decide a row's split and order; other programs can compute them.

The canonical text of several values is that of each value, joined by ``|``:

- null: ``\N``;
- a whole number of any width: its decimal digits;
- a decimal: its digits without zeros at the end of the fraction, such as ``1.5`` or ``2``;
- a boolean: ``true`` or ``false``;
- text: itself, with ``\\`` for each backslash and then ``\|`` for each bar;
- a date: ``2013-01-31``;
- a time stamp: ``2013-01-31T05:00:00Z`` in UTC, one without a zone as if it were UTC. A fraction of the second that is
  not zero has 6 digits, or 9 where nanoseconds are not zero.

A hash is MD5 of the UTF-8 bytes of ``TEXT|split/SEED`` or ``TEXT|order/SEED``. The first 13 hexadecimal digits of the
former, divided by 16 ** 13, are at least 0 and below 1: the split is the first one for which the sum of the weights up
to it is larger. Within a split, the rows are in the order of the latter, read as a number whose first byte is the least
significant one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa

from millrace.training.prepare.engine import literal

NULL_TEXT: Final = "\\N"
SEPARATOR: Final = "|"
SPLIT_DIGITS: Final = 13
"""Hexadecimal digits of a hash that decide the split: as many as a float holds exactly."""
_SECONDS: Final = "%Y-%m-%dT%H:%M:%S"


def canonical_text(values: Iterable[Any]) -> str:
    """Return the canonical text of the values of one row, as the module describes it."""
    return SEPARATOR.join(map(_value_text, values))


def split_number(text: str, seed: int) -> int:
    """Return the first 13 hexadecimal digits of the hash for the split, as a number."""
    return int(_digest(text, f"split/{seed}").hex()[:SPLIT_DIGITS], 16)


def order_number(text: str, seed: int) -> int:
    """Return the hash that orders rows within a split."""
    return int.from_bytes(_digest(text, f"order/{seed}"), "little")


def _digest(text: str, salt: str) -> bytes:
    return hashlib.md5(f"{text}{SEPARATOR}{salt}".encode(), usedforsecurity=False).digest()


def _value_text(value: Any) -> str:
    match value:
        case None:
            return NULL_TEXT
        case bool() | np.bool_():
            return "true" if value else "false"
        case int() | np.integer():
            return str(int(value))
        case str():
            return value.replace("\\", "\\\\").replace(SEPARATOR, "\\" + SEPARATOR)
        case Decimal():
            digits = format(value, "f")
            return digits.rstrip("0").rstrip(".") if "." in digits else digits
        case datetime():
            naive = value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
            return f"{naive.isoformat()}Z"
        case date():
            return value.isoformat()
        case np.datetime64():
            return _nanoseconds_text(value.astype("datetime64[ns]"))
    raise TypeError(f"a {type(value).__name__} has no canonical text")


def _nanoseconds_text(value: np.datetime64) -> str:
    digits = int(value.astype(np.int64)) % 10**9
    unit: Literal["s", "us", "ns"] = "s" if not digits else "ns" if digits % 1000 else "us"
    return f"{np.datetime_as_string(value, unit=unit)}Z"


def has_canonical_text(kind: pa.DataType) -> bool:
    """Return whether values of the type can be part of a key."""
    return _template(kind) is not None


def text_sql(columns: Iterable[tuple[str, pa.DataType]]) -> str:
    """Return SQL for the canonical text of columns, each as an expression of SQL and its type."""
    parts = [f"coalesce({_column_sql(sql, kind)}, {literal(NULL_TEXT)})" for sql, kind in columns]
    return f" || {literal(SEPARATOR)} || ".join(parts)


def split_digits_sql(text: str, seed: int) -> str:
    """Return SQL for all hexadecimal digits of the hash for the split; they compare with others like numbers."""
    return f"md5({_salted(text, f'split/{seed}')})"


def order_number_sql(text: str, seed: int) -> str:
    """Return SQL for ``order_number`` of an expression."""
    return f"md5_number({_salted(text, f'order/{seed}')})"


def _salted(text: str, salt: str) -> str:
    return f"{text} || {literal(SEPARATOR + salt)}"


def _column_sql(sql: str, kind: pa.DataType) -> str:
    template = _template(kind)
    if template is None:
        raise TypeError(f"columns of type {kind} have no canonical text")
    return template.format(sql)


def _template(kind: pa.DataType) -> str | None:
    """Return SQL for the text of a value of the type, with ``{0}`` for the value."""
    types = pa.types
    if types.is_integer(kind) or types.is_boolean(kind) or types.is_date(kind):
        return "CAST({0} AS VARCHAR)"
    if types.is_decimal(kind):
        text = "CAST({0} AS VARCHAR)"
        return f"rtrim(rtrim({text}, '0'), '.')" if kind.scale else text
    if is_text(kind):
        return r"replace(replace(CAST({0} AS VARCHAR), '\', '\\'), '|', '\|')"
    return _timestamp_template(kind) if types.is_timestamp(kind) else None


def _timestamp_template(kind: pa.DataType) -> str:
    # A time with a zone is not cast, because that depends on the zone of the session. Seconds and milliseconds are,
    # because epoch_us makes nanoseconds of them, which end in the year 2262.
    source = "CAST({0} AS TIMESTAMP)" if kind.unit in ("s", "ms") and kind.tz is None else "{0}"
    if kind.unit == "ns" and kind.tz is not None:
        source = "make_timestamp_ns(epoch_ns({0}))"
    moment = f"make_timestamp(epoch_us({source}))"
    whole = f"epoch_us({source}) % 1000000 = 0 THEN strftime({moment}, '{_SECONDS}Z')"
    micro = f"strftime({moment}, '{_SECONDS}.%fZ')"
    if kind.unit != "ns":
        return f"CASE WHEN {whole} ELSE {micro} END"
    nano = f"WHEN epoch_ns({{0}}) % 1000 <> 0 THEN strftime({source}, '{_SECONDS}.%nZ')"
    return f"CASE {nano} WHEN {whole} ELSE {micro} END"


def is_text(kind: pa.DataType) -> bool:
    """Return whether the type is text, or an enumeration of texts."""
    types = pa.types
    if types.is_dictionary(kind):
        return is_text(kind.value_type)
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))
