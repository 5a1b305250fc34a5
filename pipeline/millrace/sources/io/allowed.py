"""The local paths that declared sources and the form in Airflow may load: those below the allowed folders."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import unquote

from millrace.errors import SourceError, SourceNotFoundError, UsageError
from millrace.sources.io.address import WILDCARDS, Address, address_of
from millrace.sources.io.local_files import walk
from millrace.sources.roots import root_list


def allowed_source(source: str, roots: Sequence[str]) -> str:
    """Resolve ``source`` to a path or pattern below one of ``roots``, with all links in its fixed part resolved.

    A relative path is searched below each root in turn. Wildcard characters in the name of a root are literal. The base
    folder of a pattern is its part before the first wildcard; matching follows no link that leads out of it. Raises
    ``UsageError`` with the roots for a path outside of them, a path that is not local, or ``..`` after a wildcard.
    Raises ``SourceNotFoundError`` for a relative path that no root contains.
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
    if _has_parent_after_wildcard(source):
        raise _outside(source, roots, "has .. behind a wildcard")
    real = os.path.realpath(address.base or address.path)
    if not any(os.path.commonpath([real, root]) == root for root in real_roots):
        raise _outside(source, roots, "is outside of the folders that may be loaded from")
    return replace(address, base=real).pattern if address.parts else real


def _address(source: str, roots: Sequence[str], folder: str | None = None) -> Address:
    try:
        address = address_of(source, folder=folder)
    except UsageError:
        raise _outside(source, roots, "is not a file of this machine") from None
    if address.scheme != "file":
        raise _outside(source, roots, "is not a file of this machine")
    return address


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
