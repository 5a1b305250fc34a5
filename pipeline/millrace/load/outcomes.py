"""Describe the result of a load in an event; the live page shows it as the table of a version."""

from __future__ import annotations

from typing import Any, Final

import pyarrow as pa

from millrace.load.report import LoadReport

_NAME_MAX: Final = 100
_TYPE_MAX: Final = 100
_COLUMNS_CHARS_MAX: Final = 8_000


def outcome(report: LoadReport, schema: pa.Schema) -> dict[str, Any]:
    """Return version, rows, bytes and columns as plain JSON of at most 16 kB.

    ``columns`` holds name and type of the first columns, as many as fit; ``columns_total`` counts all of them. ``rows``
    and the bytes count the data that this load added; ``total_rows`` counts the rows of the version.
    """
    columns: list[list[str]] = []
    room = _COLUMNS_CHARS_MAX
    for column in schema:
        pair = [_cut(column.name, _NAME_MAX), _cut(str(column.type), _TYPE_MAX)]
        # A character outside ASCII takes up to twelve bytes in an event.
        room -= sum(len(ascii(text)) for text in pair)
        if room < 0:
            break
        columns.append(pair)
    return {
        "dataset": report.dataset,
        "version": report.version,
        "kind": report.kind,
        "mode": report.mode,
        "rows": report.rows,
        "total_rows": report.total_rows,
        "raw_bytes": report.raw_bytes,
        "stored_bytes": report.stored_bytes,
        "columns": columns,
        "columns_total": len(schema),
    }


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "\N{HORIZONTAL ELLIPSIS}"
