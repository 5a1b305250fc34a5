"""Restore of a bytes dataset as the same file or tree of files, which appears only when it is complete."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import IO

import pyarrow as pa

from millrace.errors import ChunkFormatError, UsageError


def restore_bytes(
    batches: Iterable[pa.RecordBatch], target: Path, *, single: bool, replace: bool = False
) -> tuple[int, int]:
    """Write the files of a bytes dataset to ``target`` and return their number and their total bytes.

    ``batches`` have ``BYTES_SCHEMA``, in the order in which they were loaded. With ``single`` the only file becomes
    ``target`` itself and replaces an existing file. Otherwise ``target`` becomes a folder with all files. It must not
    exist or must be an empty folder, unless ``replace`` is given: then an existing folder is removed when the new one
    is complete. Everything is written beside ``target`` first and then renamed, so that a failure leaves nothing
    behind. Raises ``UsageError`` when ``target`` cannot be written. Raises ``ChunkFormatError`` for rows that are not
    intact files, or whose paths would lead out of ``target``.
    """
    target = target.absolute()
    if target.is_symlink() or target.exists():
        is_folder = target.is_dir() and not target.is_symlink()
        if single and target.is_dir():
            raise UsageError(f"{target} is a folder", hint="give the path of the file to write")
        if not single and not (is_folder and (replace or not any(target.iterdir()))):
            hint = "name a folder that does not exist, or give --force to replace a folder with all that is in it"
            raise UsageError(f"{target} exists already", hint=hint)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{target.name[:100]}.", dir=target.parent))
    except OSError as error:
        raise UsageError(f"{target} cannot be written: {error.strerror}") from error
    try:
        # mkdtemp's folder is accessible to its owner only; the folder inside gets the permissions of any new folder.
        tree = work / "tree"
        tree.mkdir()
        with closing(_Writer(tree)) as writer:
            for batch in batches:
                writer.write(batch)
        if single:
            if len(writer.seen) != 1 or next(iter(writer.seen)).endswith("/"):
                raise ChunkFormatError(f"{len(writer.seen)} files instead of one", hint="give a folder as the target")
            (tree / next(iter(writer.seen))).replace(target)
        else:
            _put_in_place(tree, target, work / "before")
    except OSError as error:
        raise UsageError(f"{target} cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return len(writer.seen), writer.bytes


def _put_in_place(tree: Path, target: Path, before: Path) -> None:
    """Rename ``tree`` to ``target``; an existing folder is moved to ``before``, and back if the rename fails."""
    if not target.is_dir():
        tree.rename(target)
        return
    target.rename(before)
    try:
        tree.rename(target)
    except OSError:
        before.rename(target)
        raise


class _Writer:
    """A writer that appends pieces to files below one folder; one file is open at a time."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._path = ""
        self._file: IO[bytes] | None = None
        self._offset = 0
        self.seen: set[str] = set()
        self.bytes = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Write all rows of a batch; each piece must begin where the one before it ended, or begin a new file."""
        paths, offsets = batch.column("path").to_pylist(), batch.column("offset").to_pylist()
        data = batch.column("data")
        for row, (path, offset) in enumerate(zip(paths, offsets, strict=True)):
            if path != self._path or self._path not in self.seen:
                self._begin(path)
            piece = data[row].as_buffer()
            if piece is None or offset != self._offset or (path.endswith("/") and piece.size):
                raise ChunkFormatError(
                    f"{path!r} has a gap at byte {self._offset:,}", hint="millrace verify checks the dataset"
                )
            if self._file is not None:
                self._file.write(piece)
            self._offset += piece.size
            self.bytes += piece.size

    def _begin(self, path: str) -> None:
        self.close()
        if not _is_safe(path):
            raise ChunkFormatError(f"{path!r} is not a path below a folder", hint="the dataset was not made by a load")
        if path in self.seen and not path.endswith("/"):
            raise ChunkFormatError(f"{path!r} occurs twice", hint="read the versions one by one")
        self.seen.add(path)
        self._path, self._offset = path, 0
        full = self._root / path
        try:
            if path.endswith("/"):
                full.mkdir(parents=True, exist_ok=True)
                return
            full.parent.mkdir(parents=True, exist_ok=True)
            self._file = full.open("xb")
        except (FileExistsError, NotADirectoryError) as error:
            raise ChunkFormatError(f"{path!r} is a file and a folder at once") from error

    def close(self) -> None:
        """Close the file that is open, if any."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _is_safe(path: str | None) -> bool:
    # An absolute path has an empty first part.
    return bool(path and "\0" not in path and {"", ".", ".."}.isdisjoint(path.removesuffix("/").split("/")))
