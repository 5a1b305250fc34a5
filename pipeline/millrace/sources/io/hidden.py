"""Recognition of hidden files, which are not data of a table: a part of their relative path begins with "." or "_"."""

from __future__ import annotations

from fnmatch import fnmatchcase

HIDDEN_RULE = 'a part of the path below the source begins with "." or "_"'

_MARKERS = (
    "_SUCCESS",
    "_metadata",
    "_common_metadata",
    "_committed_*",
    "_started_*",
    ".*.crc",
    "._*",
    ".DS_Store",
    ".gitkeep",
    ".gitignore",
    "__MACOSX",
)
"""Names of files that known writers put beside the data: Spark, Hadoop, Databricks, macOS, git."""


def is_hidden(name: str) -> bool:
    """Return whether a part of a relative path begins with "." or "_", as ``pyarrow.dataset`` decides."""
    return any(part.startswith((".", "_")) for part in name.split("/"))


def is_marker(name: str) -> bool:
    """Return whether a hidden path belongs to a known writer and never holds rows: no warning is needed for it."""
    return any(fnmatchcase(part, marker) for part in name.split("/") for marker in _MARKERS)
