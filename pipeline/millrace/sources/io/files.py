"""List the regular files that a URI names, in byte order of their relative paths, and open a file.

Local files are accessed through ``local_files``, other filesystems through fsspec.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import fsspec

from millrace.errors import SourceChangedError, SourceEmptyError, SourceNotFoundError, SourceUnreadableError, UsageError
from millrace.sources.io.address import WILDCARDS, Address, address_of
from millrace.sources.io.hidden import HIDDEN_RULE, is_hidden, is_marker
from millrace.sources.io.local_files import EVERYTHING, LeftOut, file_facts, is_folder, open_file, walk
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


def list_files(uri: str, *, keep_all: bool) -> ListedFiles:
    """Return all regular files that ``uri`` names: one file, all below a directory, or those that match a pattern.

    With ``keep_all`` (bytes) hidden files and empty directories are kept; the names of directories end in "/". Without
    it (tables) a file is left out if a part of its path below the source begins with "." or "_", as in
    ``pyarrow.dataset``. A local pattern takes a hidden name if its component begins with the same character. A warning
    reports the files left out, except the markers of known writers. Raises ``SourceNotFoundError``,
    ``SourceUnreadableError``, ``SourceEmptyError``, ``SourceFormatError`` (a folder of a table format) or
    ``UsageError`` (an unsupported scheme).
    """
    if not uri or "\0" in uri:
        raise UsageError(f"{uri!r} is not a path")
    address = address_of(uri)
    shape, entries = _entries(uri, address, keep_all)
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


def _entries(uri: str, address: Address, keep_all: bool) -> tuple[Shape, Entries]:
    if address.scheme != "file":
        return _remote_entries(uri, address, keep_all)
    if address.parts:
        if not os.path.lexists(address.base) or not is_folder(Path(address.base)):
            raise SourceNotFoundError(f"no file matches {uri}", hint=f"there is no folder {address.base}")
        return "glob", walk(address.base, address.parts, keep_all=keep_all)
    path = Path(address.path)
    if is_folder(path):
        return "directory", walk(address.path, EVERYTHING, keep_all=keep_all)
    file = SourceFile(address.path, path.name, *file_facts(path))
    if uri.endswith("/"):
        raise SourceNotFoundError(f"{uri} is not a directory")
    return "file", [file]


def stat_file(uri: str) -> FileFacts:
    """Return the facts of a regular file.

    ``uri`` is that of a ``SourceFile``.
    """
    if "://" not in uri:
        return file_facts(Path(uri))
    address = address_of(uri)
    return _remote_facts(uri, _remote_info(fsspec.filesystem(address.scheme), uri, address.path))


def open_raw(file: SourceFile) -> IO[bytes]:
    """Open the file's bytes as a seekable stream, unbuffered for a local file.

    Raises ``SourceChangedError`` if the file's facts are not the planned ones.
    """
    opened: IO[bytes]
    if "://" not in file.uri:
        opened, facts = open_file(Path(file.uri))
    else:
        facts = stat_file(file.uri)
        address = address_of(file.uri)
        opened = fsspec.filesystem(address.scheme).open(address.path, "rb")
    if facts != file.facts:
        opened.close()
        raise changed(file, facts)
    return opened


def check_unchanged(file: SourceFile) -> None:
    """Raise ``SourceChangedError`` if the file's facts are no longer the planned ones."""
    facts = stat_file(file.uri)
    if facts != file.facts:
        raise changed(file, facts)


def changed(file: SourceFile, facts: FileFacts) -> SourceChangedError:
    """Return the error for a file that changed after planning; ``facts`` are its present ones."""
    is_equal = facts.size_bytes == file.size_bytes
    size = "" if is_equal else f": it had {file.size_bytes:,} bytes and has {facts.size_bytes:,}"
    return SourceChangedError(
        f"{file.name} changed after the load was planned{size}",
        hint="load it again when nothing writes to it",
        file=file.uri,
    )


def _remote_info(filesystem: Any, uri: str, path: str) -> dict[str, Any]:
    try:
        return dict(filesystem.info(path))
    except FileNotFoundError as error:
        raise SourceNotFoundError(f"{uri} does not exist") from error
    except OSError as error:
        raise SourceUnreadableError(f"{uri} cannot be read: {error}") from error


def _remote_facts(uri: str, info: dict[str, Any]) -> FileFacts:
    if info["type"] != "file":
        raise SourceUnreadableError(f"{uri} is not a file")
    modified = info.get("mtime") or info.get("LastModified") or info.get("created") or 0
    seconds = modified.timestamp() if hasattr(modified, "timestamp") else float(modified)
    return FileFacts(int(info["size"]), int(seconds * 1_000_000) * 1000)


def _remote_entries(uri: str, address: Address, keep_all: bool) -> tuple[Shape, Entries]:
    filesystem, path = fsspec.filesystem(address.scheme), address.path
    shape: Shape = "directory"
    if WILDCARDS & set(path) and not filesystem.exists(path):
        first = min(path.index(sign) for sign in WILDCARDS & set(path))
        base = filesystem.get_mapper(path[:first].rpartition("/")[0]).root
        infos, shape = filesystem.glob(path, detail=True), "glob"
    else:
        info = _remote_info(filesystem, uri, path)
        if info["type"] == "file":
            return "file", [SourceFile(uri, path.rpartition("/")[2], *_remote_facts(uri, info))]
        base, infos = filesystem.get_mapper(path).root, filesystem.find(path, detail=True)
    files = ((full, full.removeprefix(base).lstrip("/"), info) for full, info in infos.items())
    return shape, (
        SourceFile(f"{address.scheme}://{full.lstrip('/')}", name, *_remote_facts(full, info))
        if keep_all or not is_hidden(name)
        else LeftOut(name)
        for full, name, info in files
        if info["type"] == "file"
    )
