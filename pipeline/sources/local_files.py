"""Local paths: regular files only, links only within the source, and nothing that could make a reader wait."""

from __future__ import annotations

import errno
import glob
import io
import os
import stat
from pathlib import Path
from typing import IO, cast

from pipeline.errors import SourceNotFoundError, SourceUnreadableError
from pipeline.sources.model import SourceFile

__all__ = ["WILDCARDS", "file_facts", "is_hidden", "list_glob", "list_path", "open_file"]

WILDCARDS = frozenset("*?[")
_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def file_facts(path: Path) -> tuple[int, int]:
    """Size in bytes and time of the last change in nanoseconds; an error unless it is a regular file."""
    return _regular(path, _stat(path))


def open_file(path: Path) -> tuple[IO[bytes], tuple[int, int]]:
    """The open file, unbuffered, and its facts; never waits, even if the path has become a FIFO by now."""
    try:
        number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise _unreadable(path, error) from error
    opened = cast("IO[bytes]", io.FileIO(number, "rb"))
    try:
        return opened, _regular(path, os.fstat(number))
    except SourceUnreadableError:
        opened.close()
        raise


def list_path(path: Path, *, keep_all: bool) -> tuple[bool, list[SourceFile], int]:
    """Whether it is a directory, the files, and how many hidden ones were left out."""
    facts = _stat(path)
    if not stat.S_ISDIR(facts.st_mode):
        return False, [SourceFile(str(path), path.name, *_regular(path, facts))], 0
    files, hidden = _walk(path, keep_all)
    return True, files, hidden


def list_glob(pattern: str, *, keep_all: bool) -> tuple[list[SourceFile], int]:
    """The files that a pattern matches, named relative to the folder before its first wildcard."""
    parts = pattern.split("/")
    fixed = next(number for number, part in enumerate(parts) if WILDCARDS & set(part))
    base = Path("/".join(parts[:fixed]) or "/")
    files, hidden, real_base = [], 0, base.resolve()
    matches = glob.iglob(pattern, recursive=True, include_hidden=keep_all)  # noqa: PTH207  (Path has no include_hidden)
    # Two "**" match the same file in more than one way, and iglob then names it as often.
    for match in dict.fromkeys(matches):
        path = Path(match)
        name = str(path.relative_to(base))
        if not keep_all and is_hidden(name):
            hidden += 1
            continue
        if path.is_symlink():
            _check_link(path, real_base)
        facts = _stat(path)
        if not stat.S_ISDIR(facts.st_mode):
            files.append(SourceFile(match, name, *_regular(path, facts)))
    return files, hidden


def is_hidden(name: str) -> bool:
    """Whether a part of a relative path begins with "." or "_", which ``pyarrow.dataset`` leaves out too."""
    return any(part.startswith((".", "_")) for part in name.split("/"))


def _walk(root: Path, keep_all: bool) -> tuple[list[SourceFile], int]:
    """Files below a directory; iterative, so that no depth of folders ends in a RecursionError."""
    files: list[SourceFile] = []
    hidden, real_root, prefix = 0, root.resolve(), len(str(root).rstrip("/")) + 1
    waiting: list[tuple[str, frozenset[tuple[int, int]]]] = [(str(root), frozenset())]
    while waiting:
        directory, above = waiting.pop()
        facts = _stat(Path(directory))
        identity = (facts.st_dev, facts.st_ino)
        if identity in above:
            raise SourceUnreadableError(f"{directory} is a link that leads back to a folder above it")
        try:
            entries = list(os.scandir(directory))
        except OSError as error:
            raise _unreadable(Path(directory), error) from error
        if not entries and above and keep_all:
            files.append(SourceFile(directory, directory[prefix:] + "/", 0, 0))
        for entry in entries:
            if not keep_all and is_hidden(entry.name):
                hidden += 1
                continue
            path = Path(entry.path)
            if entry.is_symlink():
                _check_link(path, real_root)
            facts = _stat(path)
            if stat.S_ISDIR(facts.st_mode):
                waiting.append((entry.path, above | {identity}))
            else:
                files.append(SourceFile(entry.path, entry.path[prefix:], *_regular(path, facts)))
    return files, hidden


def _stat(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError as error:
        raise _unreadable(path, error) from error


def _regular(path: Path, facts: os.stat_result) -> tuple[int, int]:
    if stat.S_ISREG(facts.st_mode):
        return facts.st_size, facts.st_mtime_ns
    what = _KINDS.get(stat.S_IFMT(facts.st_mode), "something else")
    raise SourceUnreadableError(f"{path} is {what}, not a regular file")


def _unreadable(path: Path, error: OSError) -> SourceNotFoundError | SourceUnreadableError:
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        if path.is_symlink():
            return SourceNotFoundError(f"{path} is a link to {path.readlink()}, which does not exist")
        return SourceNotFoundError(f"there is no file {path}")
    if error.errno == errno.ELOOP:
        return SourceUnreadableError(f"{path} is a link that leads back to itself")
    if error.errno in (errno.EACCES, errno.EPERM):
        return SourceUnreadableError(f"no permission to read {path}")
    return SourceUnreadableError(f"{path} cannot be read: {error.strerror or error}")


def _check_link(path: Path, real_root: Path) -> None:
    # A link inside a permitted folder must not bring in what lies outside of it.
    try:
        real = path.resolve(strict=True)
    except (OSError, RuntimeError):
        return  # the stat that follows says what is wrong with it
    if not real.is_relative_to(real_root):
        raise SourceUnreadableError(
            f"{path} is a link to {real}, outside of the source", hint="load that file by its own path"
        )
