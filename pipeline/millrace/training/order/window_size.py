"""The default number of chunks in a window."""

from __future__ import annotations

from typing import Final

WINDOWS_BYTES: Final = 256_000_000
"""The room for two windows of all lanes."""


def default_window_chunks(raw_bytes: int, chunks: int, lanes: int) -> int:
    """Return the largest of 4, 2 and 1 of which two windows of all lanes fit into ``WINDOWS_BYTES``, else 1.

    ``raw_bytes`` and ``chunks`` are those of the version. Memory and world size have no influence, so the order is the
    same on every machine.
    """
    fitting = (count for count in (4, 2) if 2 * count * lanes * raw_bytes <= WINDOWS_BYTES * chunks)
    return next(fitting, 1)
