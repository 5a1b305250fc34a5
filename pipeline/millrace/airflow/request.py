"""Turn a submitted form into a source and load options. Only sources below the allowed folders are accepted."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

from millrace.airflow.form import allowed_roots, root_list
from millrace.errors import SourceError, SourceNotFoundError, UsageError
from millrace.load import LoadOptions
from millrace.names import has_credentials, parse_rename
from millrace.settings import Settings
from millrace.sources import WILDCARDS, Address, SourceOptions, address_of, local_path, walk
from millrace.sources import parse_column_type as _column_type


def load_options(params: Mapping[str, Any], settings: Settings) -> tuple[str, LoadOptions]:
    """Return the source and the options of a submitted form. Raises ``UsageError`` for a source that is not allowed."""
    roots = allowed_roots(settings)
    schema_file = params["schema_file"]
    source = SourceOptions(
        format=None if params["format"] == "auto" else params["format"],
        connection=params["connection"],
        null_values=tuple(params["null_values"]) if params["null_values"] else None,  # an empty line is a spelling
        column_types=tuple(map(_column_type, _lines(params["column_types"]))),
        schema_file=_schema_file(schema_file, roots) if schema_file else None,
        delimiter={"\\t": "\t", "tab": "\t"}.get(params["delimiter"], params["delimiter"]),
        encoding=params["encoding"],
        header=params["header"],
        skip_rows=params["skip_rows"],
        decimal=params["decimal"],
        date_format=_lines(params["date_format"]),
        true_value=_lines(params["true_value"]),
        false_value=_lines(params["false_value"]),
        columns=_lines(params["columns"]) or None,
        rename=tuple(map(parse_rename, _lines(params["rename"]))),
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


def _schema_file(path: str, roots: Sequence[str]) -> str:
    allowed = allowed_source(path, roots)
    local_path(allowed)
    return allowed


def _lines(given: Sequence[str] | None) -> tuple[str, ...]:
    """Return the lines of a field that are not blank; Airflow sends an emptied field as null."""
    return tuple(line for line in given or () if line.strip())


def allowed_source(source: str, roots: Sequence[str]) -> str:
    """Resolve ``source`` to a path or pattern below one of ``roots``, with all links in its fixed part resolved.

    A relative path is searched below each root in turn. Wildcard characters in the name of a root are literal. The base
    folder of a pattern is its part before the first wildcard; matching follows no link that leads out of it. Raises
    ``UsageError`` with the roots for a path outside of them, a path that is not local, or ``..`` after a wildcard.
    Raises ``SourceNotFoundError`` for a relative path that no root contains. A remote address is returned unchanged;
    the plan refuses one that may not be loaded.
    """
    if not source.strip() or source == "-" or "\0" in source:
        raise _outside(source, roots, "is not a path")
    real_roots = [os.path.realpath(root) for root in roots]
    if "://" not in source and not source.startswith(("/", "~")):
        addresses = [_address(source, roots, folder=root) for root in real_roots]
        address = next((address for address in addresses if _exists(address)), None)
        if address is None:
            raise SourceNotFoundError(f"there is no {source!r} in {root_list(roots)}", hint="put it into one of them")
    else:
        address = _address(source, roots)
        if address.is_remote:
            return source
    if _has_parent_after_wildcard(source):
        raise _outside(source, roots, "has .. behind a wildcard")
    real = os.path.realpath(address.base or address.path)
    if not any(os.path.commonpath([real, root]) == root for root in real_roots):
        raise _outside(source, roots, "is outside of the folders that may be loaded from")
    return replace(address, base=real).pattern if address.parts else real


def _address(source: str, roots: Sequence[str], folder: str | None = None) -> Address:
    if has_credentials(source):
        return address_of(source)  # raises the error that does not show them
    try:
        return address_of(source, folder=folder)
    except UsageError:
        raise _outside(source, roots, "is not a file of this machine") from None


def _has_parent_after_wildcard(source: str) -> bool:
    """Return whether a part after the first wildcard is ``..``: after a link it could mean an unexpected folder."""
    parts = unquote(source).split("/")
    first = next((number for number, part in enumerate(parts) if WILDCARDS & set(part)), len(parts))
    return ".." in parts[first:]


def _exists(address: Address) -> bool:
    if not address.parts:
        return os.path.lexists(address.path)
    try:
        return any(True for _ in walk(address.base, address.parts, keep_all=True))
    except SourceError:
        return os.path.lexists(address.base)  # the plan reports the error


def _outside(source: str, roots: Sequence[str], why: str) -> UsageError:
    return UsageError(
        f"the source {source!r} {why}",
        hint=f"put it into {root_list(roots)}, or add its folder to MILLRACE_SOURCES__ROOTS",
        expected=list(roots),
        actual=source,
    )
