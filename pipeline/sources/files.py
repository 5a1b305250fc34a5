"""A URI becomes a list of regular files, in byte order of their relative paths, and a file becomes open.

Local files are served by ``local_files``, other filesystems through fsspec.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal
from urllib.parse import unquote, urlsplit

import fsspec

from pipeline.errors import (
    SourceChangedError,
    SourceEmptyError,
    SourceNotFoundError,
    SourceUnreadableError,
    UsageError,
)
from pipeline.sources.local_files import WILDCARDS, file_facts, is_hidden, list_glob, list_path, open_file
from pipeline.sources.model import SourceFile

__all__ = ["Listing", "changed", "check_unchanged", "list_files", "open_raw", "stat_file"]

_SCHEMES = ("file", "memory")


@dataclass(frozen=True, slots=True)
class Listing:
    """What a URI names. ``shape`` says whether names are one base name, or paths below a directory or pattern."""

    shape: Literal["file", "directory", "glob"]
    files: tuple[SourceFile, ...]


def list_files(uri: str, *, keep_all: bool) -> Listing:
    """All regular files that ``uri`` names: one file, everything below a directory, or what a pattern matches.

    With ``keep_all`` (bytes) hidden files and empty directories are kept, these as names that end in "/". Without
    it (tables) every path below the source with a part that begins with "." or "_" is left out, as
    ``pyarrow.dataset`` does. Raises ``SourceNotFoundError``, ``SourceUnreadableError``, ``SourceEmptyError`` or
    ``UsageError`` (a scheme that is not served).
    """
    if not uri or "\0" in uri:
        raise UsageError(f"{uri!r} is no path")
    scheme, path = _split_uri(uri)
    shape: Literal["file", "directory", "glob"]
    if scheme != "file":
        shape, files, hidden = _list_remote(scheme, uri, path, keep_all)
    elif WILDCARDS & set(path) and not os.path.lexists(path):
        shape, (files, hidden) = "glob", list_glob(path, keep_all=keep_all)
    else:
        is_directory, files, hidden = list_path(Path(path), keep_all=keep_all)
        shape = "directory" if is_directory else "file"
        if uri.endswith("/") and not is_directory:
            raise SourceNotFoundError(f"{uri} is not a directory")
    if not files:
        skipped = f" ({hidden} hidden files are left out)" if hidden else ""
        if shape == "glob" and not hidden:
            raise SourceNotFoundError(f"no file matches {uri}")
        raise SourceEmptyError(f"there is no data in {uri}{skipped}")
    for file in files:
        try:
            file.name.encode()
        except UnicodeEncodeError:
            raise SourceUnreadableError(
                f"the file name {os.fsencode(file.name)!r} in {uri} is not UTF-8", hint="rename it"
            ) from None
    return Listing(shape, tuple(sorted(files, key=lambda file: file.name.encode())))


def stat_file(uri: str) -> tuple[int, int]:
    """Size in bytes and time of the last change in nanoseconds, of a regular file."""
    scheme, path = _split_uri(uri)
    if scheme == "file":
        return file_facts(Path(path))
    return _remote_facts(uri, _remote_info(fsspec.filesystem(scheme), uri, path))


def open_raw(file: SourceFile) -> IO[bytes]:
    """The file's bytes, unbuffered and seekable; raises ``SourceChangedError`` when it is not the one planned."""
    scheme, path = _split_uri(file.uri)
    opened: IO[bytes]
    if scheme == "file":
        opened, facts = open_file(Path(path))
    else:
        facts = stat_file(file.uri)
        opened = fsspec.filesystem(scheme).open(path, "rb")
    if facts != (file.size_bytes, file.modified_ns):
        opened.close()
        raise changed(file, facts)
    return opened


def check_unchanged(file: SourceFile) -> None:
    """Raises ``SourceChangedError`` when the file is no longer the one that was planned."""
    facts = stat_file(file.uri)
    if facts != (file.size_bytes, file.modified_ns):
        raise changed(file, facts)


def changed(file: SourceFile, facts: tuple[int, int]) -> SourceChangedError:
    """The error for a file that is not the one that was planned; ``facts`` are those of now."""
    size = f": it had {file.size_bytes:,} bytes and has {facts[0]:,}" if facts[0] != file.size_bytes else ""
    return SourceChangedError(
        f"{file.name} changed after the load was planned{size}",
        hint="load it again when nothing writes to it",
        file=file.uri,
    )


def _split_uri(uri: str) -> tuple[str, str]:
    scheme, separator, rest = uri.partition("://")
    if not separator or "/" in scheme:
        # Not Path.absolute(): "a/../b" must be looked up as the shell does, by text.
        return "file", os.path.abspath(os.path.expanduser(uri))  # noqa: PTH100, PTH111
    if scheme not in _SCHEMES:
        raise UsageError(f"{scheme}:// is no source that can be loaded", hint="give a path or a file:// address")
    if scheme == "file":
        parts = urlsplit(uri)
        if parts.netloc not in ("", "localhost"):
            raise UsageError(f"{uri} names another host", hint="write file:///path with three slashes")
        return "file", os.path.abspath(unquote(parts.path))  # noqa: PTH100
    return scheme, rest


def _remote_info(filesystem: Any, uri: str, path: str) -> dict[str, Any]:
    try:
        return dict(filesystem.info(path))
    except FileNotFoundError as error:
        raise SourceNotFoundError(f"there is nothing at {uri}") from error
    except OSError as error:
        raise SourceUnreadableError(f"{uri} cannot be read: {error}") from error


def _remote_facts(uri: str, info: dict[str, Any]) -> tuple[int, int]:
    if info["type"] != "file":
        raise SourceUnreadableError(f"{uri} is not a file")
    modified = info.get("mtime") or info.get("LastModified") or info.get("created") or 0
    seconds = modified.timestamp() if hasattr(modified, "timestamp") else float(modified)
    return int(info["size"]), int(seconds * 1_000_000) * 1000


def _list_remote(
    scheme: str, uri: str, path: str, keep_all: bool
) -> tuple[Literal["file", "directory", "glob"], list[SourceFile], int]:
    filesystem = fsspec.filesystem(scheme)
    shape: Literal["directory", "glob"] = "directory"
    if WILDCARDS & set(path) and not filesystem.exists(path):
        first = min(path.index(sign) for sign in WILDCARDS & set(path))
        base = filesystem._strip_protocol(path[:first].rpartition("/")[0])
        found, shape = filesystem.glob(path, detail=True), "glob"
    else:
        info = _remote_info(filesystem, uri, path)
        if info["type"] == "file":
            return "file", [SourceFile(uri, path.rpartition("/")[2], *_remote_facts(uri, info))], 0
        base, found = filesystem._strip_protocol(path), filesystem.find(path, detail=True)
    files, hidden = [], 0
    for full, info in found.items():
        name = full.removeprefix(base).lstrip("/")
        if info["type"] != "file":
            continue
        if not keep_all and is_hidden(name):
            hidden += 1
            continue
        files.append(SourceFile(f"{scheme}://{full.lstrip('/')}", name, *_remote_facts(full, info)))
    return shape, files, hidden
