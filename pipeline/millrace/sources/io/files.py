"""List the regular files that a URI names, in byte order of their relative paths, and open a file.

Local files are accessed through ``local_files``, remote ones through ``remote``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, cast

from millrace.errors import SourceChangedError, SourceEmptyError, SourceNotFoundError, SourceUnreadableError, UsageError
from millrace.sources.io.address import Address, address_of
from millrace.sources.io.hidden import HIDDEN_RULE, is_marker
from millrace.sources.io.local_files import EVERYTHING, LeftOut, file_facts, is_folder, open_file, walk
from millrace.sources.io.remote.access import is_remote, open_remote, remote_facts
from millrace.sources.io.remote.listing import remote_folder, remote_object
from millrace.sources.io.table_formats import refuse_table_formats
from millrace.sources.model import FileFacts, SourceFile
from millrace.sources.warnings import SourceWarning

Shape = Literal["file", "directory", "glob"]
Entries = Iterable[SourceFile | LeftOut]


@dataclass(frozen=True, slots=True)
class ListedFiles:
    """The files that a URI names.

    With the shape ``file`` there is one, named by its base name. Otherwise names are paths below a directory or below
    the fixed part of a pattern. ``warnings`` report matching files and folders that are left out.
    """

    shape: Shape
    files: tuple[SourceFile, ...]
    warnings: tuple[SourceWarning, ...] = ()


def list_files(uri: str, *, keep_all: bool, connection: str = "") -> ListedFiles:
    """Return all regular files that ``uri`` names: one file, all below a directory, or those that match a pattern.

    With ``keep_all`` (bytes) hidden files and empty directories are kept; the names of directories end in "/". Without
    it (tables) a file is left out if a part of its path below the source begins with "." or "_", as in
    ``pyarrow.dataset``. A local pattern takes a hidden name if its component begins with the same character. A warning
    reports the files left out, except the markers of known writers. ``connection`` names the connection for a remote
    address. Raises ``SourceNotFoundError``,
    ``SourceUnreadableError``, ``SourceUnavailableError``, ``SourceEmptyError``, ``SourceFormatError`` (a folder of a
    table format) or ``UsageError`` (an unsupported scheme, an address that may not be loaded).
    """
    if not uri or "\0" in uri:
        raise UsageError(f"{uri!r} is not a path")
    address = address_of(uri)
    shape, entries = _entries(uri, address, keep_all, connection)
    files: list[SourceFile] = []
    hidden, folders = _Names(), _Names()
    for entry in entries:
        if isinstance(entry, SourceFile):
            files.append(entry)
        else:
            (folders if entry.is_folder else hidden).add(entry.name)
    if not files:
        raise _no_files_error(uri, shape, hidden, folders)
    for file in files:
        try:
            file.name.encode()
        except UnicodeEncodeError:
            raise SourceUnreadableError(
                f"the file name {os.fsencode(file.name)!r} in {uri} is not UTF-8", hint="rename it"
            ) from None
    if shape != "file" and not keep_all and address.scheme == "file":
        refuse_table_formats(address.base or address.path, (file.uri for file in files))
    ordered = tuple(sorted(files, key=lambda file: file.name.encode()))
    return ListedFiles(shape, ordered, tuple(_warnings(hidden, folders)))


class _Names:
    """The number of names, and the first of them in sorted order."""

    def __init__(self) -> None:
        self.count = 0
        self.first = ""

    def add(self, name: str) -> None:
        """Count one more name; the marker of a known writer is not data and is not counted."""
        if not is_marker(name):
            self.count += 1
            # A name may contain bytes that are not UTF-8, which neither a terminal nor JSON accepts.
            name = os.fsencode(name).decode(errors="backslashreplace")
            self.first = min(self.first or name, name)


def _warnings(hidden: _Names, folders: _Names) -> Iterator[SourceWarning]:
    if hidden.count:
        yield SourceWarning(
            "hidden_files",
            f"{_files(hidden)} left out, for {HIDDEN_RULE}: {hidden.first}; to load such a file, rename it or "
            "name it as the source",
            file=hidden.first,
        )
    if folders.count:
        yield SourceWarning(
            "folders_left_out",
            f"the pattern matches {folders.count:,} {'folder' if folders.count == 1 else 'folders'} and none of their "
            f"files: {folders.first}; append /** to the pattern to load them",
            file=folders.first,
        )


def _files(names: _Names) -> str:
    return "1 file is" if names.count == 1 else f"{names.count:,} files are"


def _no_files_error(uri: str, shape: Shape, hidden: _Names, folders: _Names) -> SourceEmptyError | SourceNotFoundError:
    if hidden.count:
        reason = f"{hidden.count:,} hidden {'file is' if hidden.count == 1 else 'files are'} left out: {hidden.first}"
        return SourceEmptyError(
            f"there is no data in {uri} ({reason})", hint="give the path of such a file or folder as the source"
        )
    if shape == "glob":
        hint = f"it matches folders like {folders.first}: append /** to it" if folders.count else ""
        return SourceNotFoundError(f"no file matches {uri}", hint=hint)
    return SourceEmptyError(f"there is no data in {uri}")


def _entries(uri: str, address: Address, keep_all: bool, connection: str) -> tuple[Shape, Entries]:
    if address.is_remote:
        if file := remote_object(address, connection):
            return "file", [file]
        shape: Shape = "glob" if address.parts else "directory"
        return shape, remote_folder(address, connection, keep_all=keep_all)
    if address.parts:
        if not os.path.lexists(address.base) or not is_folder(Path(address.base)):
            raise SourceNotFoundError(f"no file matches {uri}", hint=f"there is no folder {address.base}")
        return "glob", walk(address.base, address.parts, keep_all=keep_all)
    path = Path(address.path)
    if is_folder(path):
        return "directory", walk(address.path, EVERYTHING, keep_all=keep_all)
    local = SourceFile(address.path, path.name, *file_facts(path))
    if uri.endswith("/"):
        raise SourceNotFoundError(f"{uri} is not a directory")
    return "file", [local]


def open_raw(file: SourceFile) -> IO[bytes]:
    """Open the file's bytes as a seekable stream, unbuffered for a local file.

    Raises ``SourceChangedError`` if the file's facts are not the planned ones. For a remote file the reads do, because
    each request is conditional.
    """
    if is_remote(file.uri):
        return cast("IO[bytes]", open_remote(file))
    opened, facts = open_file(Path(file.uri))
    if facts != file.facts:
        opened.close()
        raise changed(file, facts)
    return opened


def check_unchanged(file: SourceFile) -> None:
    """Raise ``SourceChangedError`` if the file's facts are no longer the planned ones."""
    facts = present_facts(file)
    if facts != file.facts:
        raise changed(file, facts)


def present_facts(file: SourceFile) -> FileFacts:
    """Return the present facts of a regular file."""
    return remote_facts(file) if is_remote(file.uri) else file_facts(Path(file.uri))


def changed(file: SourceFile, facts: FileFacts) -> SourceChangedError:
    """Return the error for a file that changed after planning; ``facts`` are its present ones."""
    is_equal = facts.size_bytes == file.size_bytes
    size = "" if is_equal else f": it had {file.size_bytes:,} bytes and has {facts.size_bytes:,}"
    return SourceChangedError(
        f"{file.name} changed after the load was planned{size}",
        hint="load it again when nothing writes to it",
        file=file.uri,
    )
