"""Texts of the statements that insert catalogue rows."""

from __future__ import annotations

from collections.abc import Collection


def insertion(table: str, columns: Collection[str]) -> str:
    """Return the statement that inserts a row with these columns."""
    marks = ", ".join("?" for _ in columns)
    return f"INSERT INTO {{ks}}.{table} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608 constant names


def using_clause(write_time: int | None, ttl_s: int | None) -> tuple[str, tuple[int, ...]]:
    """Return the end of an insertion with this write time (microseconds) and time to live, and its values."""
    given = {name: value for name, value in (("TIMESTAMP", write_time), ("TTL", ttl_s)) if value is not None}
    text = f" USING {' AND '.join(f'{name} ?' for name in given)}" if given else ""
    return text, tuple(given.values())
