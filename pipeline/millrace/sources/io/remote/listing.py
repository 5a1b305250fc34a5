"""The files that a remote address names: one file, all below a prefix, or those that match a pattern."""

from __future__ import annotations

from collections.abc import Iterator

from millrace.errors import SourceNotFoundError
from millrace.sources.io.address import OBJECT_STORES, Address
from millrace.sources.io.hidden import is_hidden
from millrace.sources.io.local_files import LeftOut
from millrace.sources.io.patterns import Pattern
from millrace.sources.io.remote.access import remote_file, remote_files_below
from millrace.sources.io.table_formats import refuse_remote_tables
from millrace.sources.model import SourceFile


def remote_object(address: Address, connection: str) -> SourceFile | None:
    """Return the file with exactly this address; None if a bucket has no such object, but may have objects below it."""
    uri = f"{address.scheme}://{address.path}"
    if address.scheme not in OBJECT_STORES:
        return remote_file(uri, connection)
    if uri.endswith("/") or "/" not in address.path:
        return None
    try:
        return remote_file(uri, connection)
    except SourceNotFoundError:
        return None


def remote_folder(address: Address, connection: str, *, keep_all: bool) -> Iterator[SourceFile | LeftOut]:
    """Yield the objects below a prefix that match, named relative to it, and a ``LeftOut`` for hidden ones.

    The rules are those of ``local_files.walk``. Raises ``SourceNotFoundError`` if there is no object below a prefix,
    and ``SourceFormatError`` for a table of Delta, Iceberg or Hudi unless ``keep_all``.
    """
    base = f"{address.scheme}://{(address.base or address.path).rstrip('/')}"
    files = _without_markers(list(remote_files_below(f"{base}/", connection)))
    if not files:
        raise SourceNotFoundError(f"there is nothing at {base}", hint="check bucket and path")
    entries = list(_matching(files, address.parts, keep_all=keep_all))
    if not keep_all:
        taken = (entry.name for entry in entries if isinstance(entry, SourceFile))
        refuse_remote_tables(base, (file.name for file in files), taken)
    yield from entries


def _without_markers(files: list[SourceFile]) -> list[SourceFile]:
    """Return the files without the empty objects by which consoles show folders: other objects are below them."""
    folders: set[str] = set()
    for file in files:
        folder = file.name.rpartition("/")[0]
        while folder and folder not in folders:
            folders.add(folder)
            folder = folder.rpartition("/")[0]
    return [file for file in files if file.size_bytes or file.name not in folders]


def _matching(files: list[SourceFile], parts: tuple[str, ...], *, keep_all: bool) -> Iterator[SourceFile | LeftOut]:
    pattern = Pattern(parts or ("**",))
    folders: set[str] = set()
    for file in files:
        name, is_left_out = pattern.match(file.name) if parts else (file.name, is_hidden(file.name))
        if name == file.name:
            yield LeftOut(name) if is_left_out and not keep_all else file
        elif name and not is_left_out and name not in folders:
            folders.add(name)
            yield LeftOut(name, is_folder=True)
