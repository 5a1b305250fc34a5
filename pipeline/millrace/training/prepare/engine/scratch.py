"""The folder of temporary files of a preparation: private, locked while in use, and removed at the end."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Final

from millrace.display import human_bytes
from millrace.errors import UsageError

SETTING: Final = "training.scratch"
"""The setting that has the parent folder, as messages name it."""
_HEADROOM: Final = 4.0
_LOCK: Final = ".lock"
_PREFIX: Final = "millrace-"
"""The folders of other programs in the same parent are left alone."""


class Scratch:
    """A folder ``millrace-NAME-RANDOM`` with mode 0700, for the time of a ``with``.

    A lock on a file in it shows that its process lives. At entry, the folders whose process has ended are removed.
    Temporary files may take ``headroom`` times the room that was required, because that is an estimate; but never more
    than half of the free disk beyond it.
    """

    def __init__(self, folder: Path, *, name: str, headroom: float = _HEADROOM) -> None:
        self.name = name
        self.room_bytes: int | None = None
        self._headroom = headroom
        self._folder = folder
        self._path: Path | None = None
        self._lock: int | None = None

    @property
    def path(self) -> Path:
        """Return the folder; valid within the ``with``."""
        if self._path is None:
            raise RuntimeError("the scratch folder is used outside of its with statement")
        return self._path

    def __enter__(self) -> Scratch:
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            # One process at a time: else a folder that is new and not yet locked would count as left over.
            with _locked(self._folder):
                _remove_leftovers(self._folder)
                self._path = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{self.name}-", dir=self._folder))
                self._lock = os.open(self._path / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._remove()
            raise UsageError(
                f"the scratch folder {self._folder} cannot be used: {error.strerror or error}",
                hint=f"give another folder by the setting {SETTING}",
                folder=str(self._folder),
            ) from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    def require_room(self, bytes_: int) -> None:
        """Reserve so many bytes for the temporary files; raise ``UsageError`` where the disk has less free.

        An ``Engine`` that is opened afterwards keeps to the room.
        """
        free = shutil.disk_usage(self.path).free
        if bytes_ > free:
            raise self._no_room(f"needs {human_bytes(bytes_)}, and {human_bytes(free)} are free", bytes_, free)
        self.room_bytes = max(bytes_, min(int(bytes_ * self._headroom), free // 2))

    def used_bytes(self) -> int:
        """Return the bytes that the files in the folder take on the disk."""
        return _tree_bytes(str(self.path))

    def full(self) -> UsageError:
        """Return the error for temporary files that need more than their room, or than the disk has."""
        free = shutil.disk_usage(self.path).free
        if self.room_bytes is not None:
            return self._no_room(f"needs more than its room of {human_bytes(self.room_bytes)}", None, free)
        return self._no_room(f"needs more, and {human_bytes(free)} are free", None, free)

    def _no_room(self, text: str, needed_bytes: int | None, free_bytes: int) -> UsageError:
        return UsageError(
            f"no room on the disk: the preparation of {self.name} {text} in {self._folder}",
            hint=f"free some, or give a folder on another disk by the setting {SETTING}",
            folder=str(self._folder),
            expected=needed_bytes,
            actual=free_bytes,
        )

    def _remove(self) -> None:
        if self._path is not None:
            shutil.rmtree(self._path, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
        self._path = self._lock = None


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold an exclusive lock on the folder itself, where its file system has such locks."""
    file = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


def _remove_leftovers(parent: Path) -> None:
    for folder in parent.glob(f"{_PREFIX}*/"):
        if not folder.is_symlink() and not _is_held(folder / _LOCK):
            shutil.rmtree(folder, ignore_errors=True)


def _is_held(lock: Path) -> bool:
    """Return whether a process holds the lock, or may hold it because the file belongs to another user."""
    try:
        file = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


def _tree_bytes(folder: str) -> int:
    total = 0
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    total += _tree_bytes(entry.path)
                else:
                    total += entry.stat(follow_symlinks=False).st_blocks * 512
    except FileNotFoundError:  # DuckDB removes files meanwhile
        pass
    return total
