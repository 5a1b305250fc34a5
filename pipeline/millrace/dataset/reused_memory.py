"""Memory for the bytes of one chunk after another."""

from __future__ import annotations

import pyarrow as pa

_ALIGNMENT_BYTES = 64


class ReusedMemory:
    """Memory that is allocated once and grows to the largest chunk.

    With a fresh buffer for each chunk the process would take up to half as much memory again, because the allocator
    keeps what is released (docs/decisions/reading-large-values.md).
    """

    def __init__(self) -> None:
        self._memory = memoryview(pa.allocate_buffer(0))
        self._used_bytes = 0

    def begin(self, size_bytes: int) -> None:
        """Release all buffers, and provide ``size_bytes`` for the next ones."""
        self._used_bytes = 0
        if size_bytes > len(self._memory):
            self._memory = memoryview(pa.allocate_buffer(0))  # the old memory is released before the new is allocated
            self._memory = memoryview(pa.allocate_buffer(size_bytes))

    def allocate(self, size_bytes: int) -> pa.Buffer:
        """Return a writable buffer that is valid until the next ``begin``; one of its own if there is no room."""
        start = self._used_bytes
        if start + size_bytes > len(self._memory):
            return pa.allocate_buffer(size_bytes)
        self._used_bytes = start + aligned_bytes(size_bytes)
        return pa.py_buffer(self._memory[start : start + size_bytes])


def aligned_bytes(size_bytes: int) -> int:
    """Return the size of a buffer in ``ReusedMemory``, in which each begins at a multiple of 64 bytes."""
    return -(-size_bytes // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES
