"""Write names and values as SQL of DuckDB."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any


def quoted(name: str) -> str:
    """Return the name as an identifier of SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: Any) -> str:
    """Return the value as a literal of SQL, with its type; raise ``TypeError`` for a value that has no literal."""
    match value:
        case None:
            return "NULL"
        case bool():
            return "TRUE" if value else "FALSE"
        case int() | Decimal():
            return _number(value)
        case float():
            return repr(value) + "::DOUBLE" if math.isfinite(value) else f"'{value}'::DOUBLE"
        case str():
            return _text(value)
        case datetime() if value.tzinfo is not None:
            return f"TIMESTAMPTZ {_text(value.astimezone(UTC).isoformat(sep=' '))}"
        case datetime():
            return f"TIMESTAMP {_text(value.isoformat(sep=' '))}"
        case date():
            return f"DATE {_text(value.isoformat())}"
        case time() if value.tzinfo is None:
            return f"TIME {_text(value.isoformat())}"
        case bytes():
            return f"from_hex('{value.hex()}')"
    raise TypeError(f"a {type(value).__name__} has no literal in SQL")


def _number(value: int | Decimal) -> str:
    if isinstance(value, Decimal) and not value.is_finite():
        raise TypeError(f"the decimal {value} has no literal in SQL")
    text = format(value, "f") if isinstance(value, Decimal) else str(value)
    return f"({text})" if value < 0 else text  # "--1" would begin a comment


def _text(value: str) -> str:
    """Return the text in quotes; DuckDB reads a text with NUL only from a call of ``chr``."""
    parts = ["'" + part.replace("'", "''") + "'" for part in value.split("\0")]
    return parts[0] if len(parts) == 1 else "(" + " || chr(0) || ".join(parts) + ")"
