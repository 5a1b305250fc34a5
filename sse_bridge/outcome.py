"""The version or model that a run made, as the lines of a table; ``static/outcome.js`` follows the same rules."""

from __future__ import annotations

from typing import Any

from millrace.progress import amount, clean, metric_lines


def facts_of(result: dict[str, Any]) -> list[tuple[str, str]]:
    """Return label and value of each line; ``result`` is that of a run (``millrace.progress.runs.result_of``)."""
    if result.get("kind") == "model":
        lines = [(line.name, line.text) for line in metric_lines(result.get("metrics", {}))] + _tag_line(result)
    else:
        lines = _row_lines(result) + _prepared_lines(result) + _size_lines(result)
    lines = [("Version", f"{result.get('dataset', '')}@{result['version']}"), *lines, *_origin_line(result)]
    return [(clean(label), clean(value)) for label, value in lines]


def _row_lines(result: dict[str, Any]) -> list[tuple[str, str]]:
    rows, total_rows = result["rows"], result.get("total_rows", result["rows"])
    if result.get("kind") == "bytes":
        return []
    if "split_rows" in result:
        return [("Rows", amount(total_rows))]
    if result.get("mode") in ("append", "incremental") or total_rows != rows:
        return [("Rows added", amount(rows)), ("Rows in the version", amount(total_rows))]
    return [("Rows", amount(rows))]


def _prepared_lines(result: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the rows of each split and its classes, and the rows of the main input that were dropped."""
    classes = result.get("class_rows", {})
    lines = [
        (f"Rows in {name}", amount(rows) + _classes(classes.get(name, {})))
        for name, rows in result.get("split_rows", {}).items()
    ]
    if "rows_in" in result:
        lines.append(("Rows of the main input", amount(result["rows_in"])))
    return lines + [(f"Dropped: {reason}", amount(rows)) for reason, rows in result.get("dropped", {}).items()]


def _classes(rows: dict[str, float]) -> str:
    return f" ({', '.join(f'{name} {amount(count)}' for name, count in rows.items())})" if rows else ""


def _size_lines(result: dict[str, Any]) -> list[tuple[str, str]]:
    if result.get("skipped"):  # the sizes count what this run has written
        return []
    sizes = (("raw_bytes", "Raw size"), ("stored_bytes", "Stored size"))
    return [(label, amount(result[name], "bytes")) for name, label in sizes if name in result]


def _tag_line(result: dict[str, Any]) -> list[tuple[str, str]]:
    return (
        [("Tag", "best" if result["best"] else "none: it is not better than the best model")]
        if "best" in result
        else []
    )


def _origin_line(result: dict[str, Any]) -> list[tuple[str, str]]:
    inputs = list(dict.fromkeys(result.get("inputs", {}).values()))
    return [("Made from", ", ".join(inputs))] if inputs else []


def columns_of(result: dict[str, Any]) -> tuple[list[tuple[str, str]], str]:
    """Return name and type of each column in the result, and a line on the columns that did not fit into it."""
    columns = [(clean(name), clean(kind)) for name, kind in result.get("columns", [])]
    total = result.get("columns_total", len(columns))
    further = total - len(columns) if isinstance(total, int) else 0
    return columns, f"{amount(further)} further columns" if further > 0 else ""
