"""What a filled-in form asks for, and what of it may be asked for: only sources below the allowed folders."""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pipeline.airflow.form import allowed_roots, named
from pipeline.errors import InvalidSettingError, SourceNotFoundError, UsageError
from pipeline.load import LoadOptions
from pipeline.settings import Settings
from pipeline.sources import SourceOptions

__all__ = ["allowed_source", "load_options"]


def load_options(params: Mapping[str, Any], settings: Settings) -> tuple[str, LoadOptions]:
    """The source and the options that a filled-in form asks for; ``UsageError`` for what may not be asked for."""
    roots = allowed_roots(settings)
    schema_file = params["schema_file"]
    source = SourceOptions(
        format=None if params["format"] == "auto" else params["format"],
        # An emptied field of lines arrives as null: the default spellings.
        null_values=tuple(params["null_values"]) if params["null_values"] else None,
        column_types=tuple(_column_type(line) for line in params["column_types"] or () if line.strip()),
        schema_file=allowed_source(schema_file, roots) if schema_file else None,
        delimiter={"\\t": "\t", "tab": "\t"}.get(params["delimiter"], params["delimiter"]),
        encoding=params["encoding"],
        header=params["header"],
        infer_bytes=params["infer_bytes"],
        max_unit_bytes=params["max_unit_bytes"],
        split_bytes=params["split_bytes"],
        max_splits=params["max_splits"],
    )
    options = LoadOptions(
        mode=params["mode"],
        source=source,
        codec=params["codec"],
        codec_level=params["codec_level"],
        chunk_bytes=params["chunk_bytes"],
    )
    return allowed_source(params["source"], roots), options


def _column_type(line: str) -> tuple[str, str]:
    name, equals, kind = line.strip().rpartition("=")
    if not equals or not name or not kind:
        raise InvalidSettingError(f"{line!r} gives no column a type", hint="write COLUMN=TYPE, as in delay=int64")
    return name, kind


def allowed_source(source: str, roots: Sequence[str]) -> str:
    """The path or pattern below one of ``roots`` that ``source`` names, with every link on the way resolved.

    A relative path is looked for below each root in turn. Raises ``UsageError`` naming the roots for whatever lies
    outside of them, is no local path, or climbs (``..`` in a pattern); ``SourceNotFoundError`` for a relative path
    that no root holds.
    """
    path = _local_path(source, roots)
    real_roots = [os.path.realpath(root) for root in roots]
    if not Path(path).is_absolute():
        found = [candidate for root in real_roots if _leads_somewhere(candidate := str(Path(root, path)))]
        if not found:
            raise SourceNotFoundError(f"there is no {source!r} in {named(roots)}", hint="put it into one of them")
        path = found[0]
    head, tail = _fixed_part(path)
    if ".." in Path(tail).parts:
        raise _outside(source, roots, "has .. behind a wildcard")
    real = os.path.realpath(head)
    if not any(os.path.commonpath([real, root]) == root for root in real_roots):
        raise _outside(source, roots, "is outside of the folders that may be loaded from")
    return str(Path(real, tail)) if tail else real


def _local_path(source: str, roots: Sequence[str]) -> str:
    if not source.strip() or source == "-" or "\0" in source:
        raise _outside(source, roots, "is no path")
    scheme, separator, _ = source.partition("://")
    if not separator or "/" in scheme:
        return source
    parts = urlsplit(source)
    if scheme != "file" or parts.netloc not in ("", "localhost"):
        raise _outside(source, roots, "is no file of this machine")
    return unquote(parts.path)


def _leads_somewhere(path: str) -> bool:
    # pathlib's glob refuses patterns that the product's sources take.
    return os.path.lexists(path) or any(True for _ in glob.iglob(path, recursive=True))  # noqa: PTH207


def _fixed_part(path: str) -> tuple[str, str]:
    """The part of a path before its first wildcard, and the rest; a file whose own name holds one is no pattern."""
    if os.path.lexists(path) or not glob.has_magic(path):
        return path, ""
    parts = path.split("/")
    first = next(number for number, part in enumerate(parts) if glob.has_magic(part))
    return "/".join(parts[:first]) or "/", "/".join(parts[first:])


def _outside(source: str, roots: Sequence[str], why: str) -> UsageError:
    return UsageError(
        f"the source {source!r} {why}",
        hint=f"put it into {named(roots)}, or add its folder to MILLRACE_SOURCES__ROOTS",
        expected=list(roots),
        actual=source,
    )
