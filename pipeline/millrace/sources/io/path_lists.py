"""Several paths as one source: their files, in the order in which the paths are given."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

from millrace.errors import UsageError
from millrace.names import first_duplicate
from millrace.sources.io.files import ListedFiles, list_files
from millrace.sources.io.inputs import begin_plan
from millrace.sources.io.stdin import STANDARD_INPUT
from millrace.sources.model import SourceFile

_SHOWN_PATHS = 3


def short_list(uri: str | Sequence[str]) -> str:
    """Return one path unchanged; of several paths the first three and the number of the others."""
    if isinstance(uri, str):
        return uri
    more = f" and {len(uri) - _SHOWN_PATHS:,} more" if len(uri) > _SHOWN_PATHS else ""
    return ", ".join(uri[:_SHOWN_PATHS]) + more


def list_each(uri: str | Sequence[str], *, keep_all: bool, connection: str | None = None) -> ListedFiles:
    """List the files of one path, or of several; then their names are relative to the folder that all have in common.

    Each path may be a file, a folder or a pattern. Raises ``UsageError`` for an empty list, for standard input among
    others, and for a file that is named twice, and the errors of ``list_files``.
    """
    begin_plan()
    if isinstance(uri, str):
        return list_files(uri, keep_all=keep_all, connection=connection or "")
    if not uri:
        raise UsageError("the list of paths is empty", hint="name at least one file, folder or pattern")
    if STANDARD_INPUT in uri:
        raise UsageError("standard input cannot be one source of several", hint="load it alone, as '-'")
    listings = [list_files(path, keep_all=keep_all, connection=connection or "") for path in uri]
    files = _named([file for listing in listings for file in listing.files])
    warnings = tuple(warning for listing in listings for warning in listing.warnings)
    return ListedFiles("directory", tuple(files), warnings)


def _named(files: Sequence[SourceFile]) -> list[SourceFile]:
    paths = [file.uri.partition("://")[2] if "://" in file.uri else file.uri for file in files]
    paths = [f"/{path.lstrip('/')}" for path in paths]
    if twice := first_duplicate(paths):
        raise UsageError(f"the list of paths names {twice} twice", hint="name each file once")
    above = os.path.commonpath([os.path.dirname(path) for path in paths]).rstrip("/")  # noqa: PTH120
    ends = ["/" if file.name.endswith("/") else "" for file in files]
    return [
        replace(file, name=f"{path[len(above) + 1 :]}{end}") for file, path, end in zip(files, paths, ends, strict=True)
    ]
