"""Listing and opening of local files: regular files only, links only within the source, and never a blocking open."""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from millrace.errors import SourceNotFoundError, SourceUnreadableError
from millrace.sources.io.hidden import is_hidden
from millrace.sources.io.patterns import Pattern
from millrace.sources.model import FileFacts, SourceFile

EVERYTHING = ("**",)
_LINKED_FOLDERS_MAX = 100_000
"""Links to folders within the source multiply its paths: 20 folders with two links each to the next are a million."""
_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def file_facts(path: Path) -> FileFacts:
    """Return size, time and ``ctime``; raises an error unless it is a regular file."""
    return _regular(path, _stat(path))


def is_folder(path: Path) -> bool:
    """Return whether the path is a folder, also through a link; raises an error when its state cannot be read."""
    return stat.S_ISDIR(_stat(path).st_mode)


def open_file(path: Path) -> tuple[IO[bytes], FileFacts]:
    """Return the open file, unbuffered, and its facts; never blocks, even if the path has become a FIFO by now."""
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


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A path below the source that matches the pattern and is left out: a hidden file, or (``is_folder``) a folder."""

    name: str
    is_folder: bool = False


@dataclass(frozen=True, slots=True)
class _Folder:
    """A folder to be listed.

    ``states`` are positions in the pattern. ``above`` has the device and inode numbers of its parents.
    """

    path: str
    states: frozenset[int]
    above: frozenset[tuple[int, int]]
    hidden: bool = False
    linked: bool = False


class _Walk(Pattern):
    """A pattern in local folders; every folder is listed once for all ways to match it."""

    def positions(self, folder: _Folder) -> list[tuple[int, str]]:
        """Return each pattern position that the folder's entries may match, with the exact name for it.

        The name is "" where the pattern component is matched as a pattern.
        """
        return [(position, self._exact(folder, self._parts[position])) for position in self.reached(folder.states)]

    def _exact(self, folder: _Folder, part: str) -> str:
        return part if "[" in part and os.path.lexists(f"{folder.path}/{part}") else ""


def walk(
    base: str, parts: Sequence[str], *, keep_all: bool, linked_folders_max: int = _LINKED_FOLDERS_MAX
) -> Iterator[SourceFile | LeftOut]:
    """Yield the files below a folder that match ``parts``, named relative to it, and a ``LeftOut`` for hidden files.

    ``parts`` are the components of a pattern (``EVERYTHING``: the whole folder). With ``keep_all`` hidden files are
    taken, and empty folders as names that end in "/". A component that is written with its leading "." or "_" takes
    hidden names. Links are followed within ``base``, to at most ``linked_folders_max`` folders. Raises
    ``SourceUnreadableError`` for more of them, and for a link that leads out of ``base`` or back to a folder above it.
    The same error is raised for a folder without read permission and for a path that is not a regular file.
    """
    root, real_root = base.rstrip("/"), Path(base).resolve()
    pattern, linked = _Walk(parts), 0
    waiting = [_Folder(base, Pattern.START, frozenset())]
    while waiting:
        folder = waiting.pop()
        linked += folder.linked
        if linked > linked_folders_max:
            raise SourceUnreadableError(f"links lead to more than {linked_folders_max:,} folders below {base}")
        identity, entries = _entries(folder)
        if not entries and keep_all and folder.above and tuple(parts) == EVERYTHING:
            yield SourceFile(folder.path, folder.path[len(root) + 1 :] + "/", 0, 0)
        positions, above = pattern.positions(folder), folder.above | {identity}
        for entry in entries:
            taken, below, is_explicit = pattern.step(positions, entry.name)
            hidden = folder.hidden or (not keep_all and not is_explicit and is_hidden(entry.name))
            is_link = entry.is_symlink()
            if not _may_match(entry, taken, below, hidden):
                continue
            path, name = Path(entry.path), entry.path[len(root) + 1 :]
            facts = _facts(path, real_root if is_link else None, is_file_taken=taken)
            if facts is None:
                continue
            if stat.S_ISDIR(facts.st_mode):
                if below:
                    waiting.append(_Folder(entry.path, below, above, hidden, folder.linked or is_link))
                elif taken and not hidden:
                    yield LeftOut(name, is_folder=True)
            elif taken:
                yield LeftOut(name) if hidden else SourceFile(entry.path, name, *_regular(path, facts))


def _may_match(entry: os.DirEntry[str], taken: bool, below: frozenset[int], hidden: bool) -> bool:
    """Return whether an entry is taken or may lead to one that is; hidden links are not followed."""
    is_link = entry.is_symlink()
    if hidden and is_link:
        return False
    return taken or (bool(below) and (is_link or entry.is_dir(follow_symlinks=False)))


def _entries(folder: _Folder) -> tuple[tuple[int, int], list[os.DirEntry[str]]]:
    """Return device and inode of a folder, and its entries; no entries of a hidden folder that cannot be read."""
    facts = _stat(Path(folder.path))
    identity = (facts.st_dev, facts.st_ino)
    if identity in folder.above:
        raise SourceUnreadableError(f"{folder.path} is a link that leads back to a folder above it")
    try:
        with os.scandir(folder.path) as entries:
            return identity, list(entries)
    except OSError as error:
        if folder.hidden:
            return identity, []
        raise _unreadable(Path(folder.path), error) from error


def _facts(path: Path, link_within: Path | None, *, is_file_taken: bool) -> os.stat_result | None:
    """Return the facts of an entry; None for an entry that is no folder where no file is taken."""
    try:
        facts = path.stat()
    except OSError as error:
        if not is_file_taken and error.errno in (errno.ENOENT, errno.ELOOP):
            return None
        raise _unreadable(path, error) from error
    if not is_file_taken and not stat.S_ISDIR(facts.st_mode):
        return None
    if link_within is not None:
        _check_link(path, link_within)
    return facts


def _stat(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError as error:
        raise _unreadable(path, error) from error


def _regular(path: Path, facts: os.stat_result) -> FileFacts:
    if stat.S_ISREG(facts.st_mode):
        return FileFacts(facts.st_size, facts.st_mtime_ns, str(facts.st_ctime_ns))
    kind = _KINDS.get(stat.S_IFMT(facts.st_mode), "something else")
    raise SourceUnreadableError(f"{path} is {kind}, not a regular file")


def _unreadable(path: Path, error: OSError) -> SourceNotFoundError | SourceUnreadableError:
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        if path.is_symlink():
            return SourceNotFoundError(f"{path} is a link to {path.readlink()}, which does not exist")
        return SourceNotFoundError(f"the file {path} does not exist")
    if error.errno == errno.ELOOP:
        return SourceUnreadableError(f"{path} is a link that leads back to itself")
    if error.errno in (errno.EACCES, errno.EPERM):
        return SourceUnreadableError(f"no permission to read {path}")
    return SourceUnreadableError(f"{path} cannot be read: {error.strerror or error}")


def _check_link(path: Path, real_root: Path) -> None:
    # A link inside the source must not include files outside of it.
    try:
        real = path.resolve(strict=True)
    except (OSError, RuntimeError):
        return  # the path changed after its stat; opening it raises the error
    if not real.is_relative_to(real_root):
        raise SourceUnreadableError(
            f"{path} is a link to {real}, outside of the source", hint="load that file by its own path"
        )
