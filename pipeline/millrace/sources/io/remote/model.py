"""The interface to the files of a remote address, which object stores and web servers implement."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from millrace.sources.model import FileFacts

PIECE_BYTES_MAX = 1_000_000
"""Largest number of bytes that ``RemoteFiles.read`` yields at once."""
UNKNOWN_SIZE = -1
"""The size in the facts of a file whose server does not name it."""


class RemoteFile(NamedTuple):
    """One object or web page, with the facts on which each read of it is conditional.

    ``path`` is relative to the address of its ``RemoteFiles``. The facts have the size ``UNKNOWN_SIZE`` where the
    server does not name it. Without ``has_ranges`` a read begins at byte 0. ``encoding`` is its ``Content-Encoding``,
    "" if none.
    """

    path: str
    facts: FileFacts
    has_ranges: bool = True
    encoding: str = ""


class TransferInterrupted(Exception):
    """A reset, a timeout, a status 5xx or 429, or a short body: the same read may succeed at the byte reached.

    The message names the cause without the address and without credentials.
    """


class RemoteFiles(Protocol):
    """Access to the files of one remote address: their list, their facts, and ranges of their bytes."""

    def list(self, path: str) -> Iterator[RemoteFile]:
        """Yield all objects below a prefix, in any order; ``path`` ends in "/" or is "".

        Raises ``UsageError`` where there are no lists (``https://``), and the errors of ``facts``.
        """

    def facts(self, path: str) -> RemoteFile:
        """Return the present facts of one file.

        Raises ``SourceNotFoundError`` for a missing file. Raises ``SourceUnreadableError`` for a refused one (401, 403,
        TLS). Raises ``TransferInterrupted`` for a failure that may pass.
        """

    def read(self, file: RemoteFile, start: int, stop: int) -> Iterator[bytes]:
        """Yield the bytes ``start`` to ``stop`` of a file in pieces, by one request that is conditional on its facts.

        ``stop`` is -1 for the end of a file of unknown size. No piece is larger than ``PIECE_BYTES_MAX``. Closing the
        iterator ends the request. Raises ``SourceChangedError`` when the condition fails or the answer names other
        facts, and ``TransferInterrupted`` when fewer bytes arrive than the answer or the range promises, beside the
        errors of ``facts``.
        """
