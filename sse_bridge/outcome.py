"""The version that a load made, as the lines of a table; ``static/outcome.js`` follows the same rules."""

from __future__ import annotations

from typing import Any

from millrace.progress import amount, clean


def facts_of(result: dict[str, Any]) -> list[tuple[str, str]]:
    """Return label and value of each line; ``result`` is that of a run (``millrace.progress.runs.result_of``)."""
    rows, total_rows = result["rows"], result.get("total_rows", result["rows"])
    lines: list[tuple[str, str]] = [("Version", clean(f"{result.get('dataset', '')}@{result['version']}"))]
    if result.get("kind") != "bytes":
        added = result.get("mode") in ("append", "incremental") or total_rows != rows
        lines += (
            [("Rows added", amount(rows)), ("Rows in the version", amount(total_rows))]
            if added
            else [("Rows", amount(rows))]
        )
    sizes = (("raw_bytes", "Raw size"), ("stored_bytes", "Stored size"))
    return lines + [(label, amount(result[name], "bytes")) for name, label in sizes if name in result]


def columns_of(result: dict[str, Any]) -> tuple[list[tuple[str, str]], str]:
    """Return name and type of each column in the result, and a line on the columns that did not fit into it."""
    columns = [(clean(name), clean(kind)) for name, kind in result.get("columns", [])]
    total = result.get("columns_total", len(columns))
    further = total - len(columns) if isinstance(total, int) else 0
    return columns, f"{amount(further)} further columns" if further > 0 else ""
