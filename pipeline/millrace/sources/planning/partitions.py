"""Warnings about partition folders named ``key=value``, as Hive, Spark and pyarrow write them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain, takewhile
from urllib.parse import unquote

from millrace.sources.model import SourceFile
from millrace.sources.warnings import SourceWarning

_LISTED_KEYS = 10


def partition_warnings(files: Sequence[SourceFile], columns: Iterable[str]) -> list[SourceWarning]:
    """Return a warning that names the keys in folder names that are not among the columns of the files, if any.

    The folders are those below the source, and those directly above it.
    """
    first = files[0]
    above = first.uri.removesuffix(first.name).rstrip("/").split("/")
    directly_above = list(takewhile(_key, reversed(above)))[::-1]
    below = (folder for file in files if "=" in file.name for folder in file.name.split("/")[:-1])
    first_folders: dict[str, str] = {}
    for folder in chain(directly_above, below):
        first_folders.setdefault(_key(folder), folder)
    present = {"", *columns}
    missing = {key: folder for key, folder in first_folders.items() if key not in present}
    if not missing:
        return []
    listed = ", ".join(map(repr, list(missing)[:_LISTED_KEYS]))
    if len(missing) > _LISTED_KEYS:
        listed += f" and {len(missing) - _LISTED_KEYS:,} more"
    example = next(iter(missing.values()))
    return [
        SourceWarning(
            "partition_folders",
            f"the values of {listed} in the names of folders (as in {example}) are not loaded: the rows have only the "
            "columns of the files",
            column=next(iter(missing)),
            file=example,
        )
    ]


def _key(folder: str) -> str:
    """Return the key of a folder named ``key=value``, or an empty text."""
    key, equals, _ = folder.partition("=")
    return unquote(key) if equals else ""
