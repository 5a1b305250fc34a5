"""The sources that declarations and the form in Airflow may load: files below the allowed folders, and remote URIs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

from millrace.errors import SourceError, SourceNotFoundError, SourceUnreadableError, UsageError
from millrace.settings import SourcesSettings, load_settings
from millrace.sources.io.address import REMOTE_SCHEMES, WILDCARDS, Address, address_of
from millrace.sources.io.files import changed
from millrace.sources.io.local_files import open_file, walk
from millrace.sources.io.remote.access import is_remote
from millrace.sources.io.remote.addresses import refuse_credentials
from millrace.sources.io.remote.allowed import check_uri
from millrace.sources.io.stdin import STANDARD_INPUT
from millrace.sources.model import SourceFile
from millrace.sources.roots import root_list


def allowed_source(source: str, roots: Sequence[str], settings: SourcesSettings | None = None) -> str:
    """Return a source that may be loaded: a remote URI as it is, or a path or pattern below one of ``roots``.

    The hosts and buckets of ``settings`` (default: those in force) decide for a remote URI. Raises ``UsageError`` for
    one that is not allowed, without its credentials.

    All links in the fixed part of a local path are resolved. A relative path is searched below each root in turn.
    Wildcard characters in the name of a root are literal. The base folder of a pattern is its part before the first
    wildcard; matching follows no link that leads out of it. Raises ``UsageError`` with the roots for a path outside of
    them, a path that is not local, or ``..`` after a wildcard. Raises ``SourceNotFoundError`` for a relative path that
    no root contains.
    """
    scheme, separator, _ = source.partition("://")
    if separator:
        refuse_credentials(source)
    if separator and scheme.lower() in (*REMOTE_SCHEMES, "http"):  # check_uri refuses http by its reason
        check_uri(source, settings or load_settings().sources)
        return source
    return _allowed_path(source, roots)


def _allowed_path(source: str, roots: Sequence[str]) -> str:
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
    if _has_parent_after_wildcard(source):
        raise _outside(source, roots, "has .. behind a wildcard")
    real = os.path.realpath(address.base or address.path)
    if not _is_below(real, real_roots):
        raise _outside(source, roots, "is outside of the folders that may be loaded from")
    return replace(address, base=real).pattern if address.parts else real


def _address(source: str, roots: Sequence[str], folder: str | None = None) -> Address:
    try:
        address = address_of(source, folder=folder)
    except UsageError:
        raise _outside(source, roots, "is not a file of this machine") from None
    if address.scheme != "file" or "\0" in address.path:
        raise _outside(source, roots, "is not a file of this machine")
    return address


def check_below_roots(files: Iterable[SourceFile], roots: Sequence[str]) -> None:
    """Open each planned local file, and check that it is below one of ``roots`` whatever links its path has by now.

    A load reads a file only if it has the planned facts, so it reads the file that was opened here. Raises
    ``SourceUnreadableError`` for a file outside of the roots, and ``SourceChangedError`` for one with other facts.
    """
    real_roots = [os.path.realpath(root) for root in roots]
    for file in files:
        if is_remote(file.uri) or file.uri == STANDARD_INPUT or file.name.endswith("/"):
            continue
        opened, facts = open_file(Path(file.uri))
        with opened:
            real = str(Path(f"/proc/self/fd/{opened.fileno()}").readlink())
        if facts != file.facts:
            raise changed(file, facts)
        if not _is_below(real, real_roots):
            raise SourceUnreadableError(
                f"{file.name} leads out of {root_list(roots)}", hint="load it again when no link to it changes"
            )


def _is_below(path: str, real_roots: Sequence[str]) -> bool:
    return any(os.path.commonpath([path, root]) == root for root in real_roots)


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
