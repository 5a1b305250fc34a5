"""The options and the endings of file names of each format.

This module is imported without pyarrow, so that declared sources are checked quickly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

_TABLE: Final = frozenset({"columns", "rename"})
_TEXT: Final = _TABLE | {"encoding", "column_types", "schema_file"}
CSV_OPTIONS: Final = frozenset(
    {"delimiter", "header", "decimal", "date_format", "true_value", "false_value", "skip_rows"}
)
"""The options that make any text a CSV."""
OPTIONS: Final[Mapping[str, frozenset[str]]] = {
    "parquet": _TABLE,
    "arrow": _TABLE,
    "jsonl": _TEXT,
    "json": _TEXT | {"records"},
    "csv": _TEXT | CSV_OPTIONS | {"null_values"},
    "bytes": frozenset(),
}
"""The options of each format, except those that all formats have."""
ENDINGS: Final[Mapping[str, str]] = {
    **dict.fromkeys((".parquet", ".pq"), "parquet"),
    **dict.fromkeys((".arrow", ".arrows", ".feather", ".ipc"), "arrow"),
    **dict.fromkeys((".jsonl", ".ndjson", ".json"), "jsonl"),
    **dict.fromkeys((".csv", ".tsv"), "csv"),
}
"""The format by the ending of a file's name."""
COMPRESSION_ENDINGS: Final[Mapping[str, str]] = {
    ".gz": "gzip", ".gzip": "gzip", ".zst": "zstd", ".zstd": "zstd", ".bz2": "bz2", ".zip": "zip",
}  # fmt: skip
"""The compression by the ending of a file's name."""


def last_ending(name: str) -> str:
    """Return the end of a name from its last dot, in small letters."""
    return "".join(name.rpartition(".")[1:]).lower()


def name_inside(name: str) -> str:
    """Return a file's name without the ending of its compression."""
    ending = last_ending(name)
    return name[: -len(ending)] if ending in COMPRESSION_ENDINGS else name


def name_ending(name: str) -> str:
    """Return the ending of a file's name, without that of its compression; empty if there is none."""
    name = name_inside(name).lower()
    return name[name.rfind(".") :] if "." in name.rpartition("/")[2] else ""


def named_format(paths: Sequence[str]) -> str | None:
    """Return the format that the endings of all these paths denote, or None."""
    names = {ENDINGS.get(name_ending(path)) for path in paths}
    return names.pop() if len(names) == 1 else None


def options_of_others(format_name: str) -> frozenset[str]:
    """Return the options that only other formats have; none for an unknown format."""
    if format_name not in OPTIONS:
        return frozenset()
    return frozenset().union(*OPTIONS.values()) - OPTIONS[format_name]
