"""Warnings about partition folders named ``key=value``, as Hive, Spark and pyarrow write them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
    seen: dict[str, str] = {}
    for folder in _run_at_end(above):
        seen.setdefault(_key(folder), folder)
    for file in files:
        if "=" in file.name:
            for folder in file.name.split("/")[:-1]:
                seen.setdefault(_key(folder), folder)
    seen.pop("", None)
    missing = {key: folder for key, folder in seen.items() if key not in set(columns)}
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


def _run_at_end(folders: list[str]) -> list[str]:
    """Return the last folders of a path that are all named ``key=value``, in their order."""
    start = len(folders)
    while start and _key(folders[start - 1]):
        start -= 1
    return folders[start:]


def _key(folder: str) -> str:
    key, equals, _ = folder.partition("=")
    return unquote(key) if equals else ""
