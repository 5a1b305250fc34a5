"""Decoded chunks that stay in the process: a fixed share within a limit of bytes."""

from __future__ import annotations

import threading
from collections.abc import Hashable

import pyarrow as pa


class DecodedChunks:
    """The first chunks that fit into ``bytes_max``; they stay and none is replaced.

    An epoch reads every chunk once. A cache that replaces chunks would therefore drop each of them before its next use.
    Safe to use from several threads.
    """

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._lock = threading.Lock()
        self._kept: set[Hashable] = set()
        """The chunks whose bytes count: those of ``_batches``, and those that are being copied."""
        self._batches: dict[Hashable, pa.RecordBatch] = {}
        self._bytes = 0

    @property
    def bytes(self) -> int:
        """Return the bytes of the buffers that are kept."""
        return self._bytes

    def get(self, key: Hashable) -> pa.RecordBatch | None:
        """Return the chunk, or None if it is not kept."""
        return self._batches.get(key)

    def keep(self, key: Hashable, batch: pa.RecordBatch) -> None:
        """Copy the rows and keep them if they fit; their own memory may be reused afterwards."""
        if self._bytes >= self._bytes_max:
            return
        size = _stream_bytes(batch)
        with self._lock:
            if key in self._kept or self._bytes + size > self._bytes_max:
                return
            self._kept.add(key)
            self._bytes += size
        self._batches[key] = _copied(batch, size)


def _stream_bytes(batch: pa.RecordBatch) -> int:
    sink = pa.MockOutputStream()
    _write(batch, sink)
    return int(sink.size())


def _copied(batch: pa.RecordBatch, size: int) -> pa.RecordBatch:
    """Return a copy in one buffer of exactly ``size`` bytes; a stream leaves out all data that the rows do not use."""
    buffer = pa.allocate_buffer(size)
    _write(batch, pa.FixedSizeBufferWriter(buffer))
    return pa.ipc.open_stream(buffer).read_next_batch()


def _write(batch: pa.RecordBatch, sink: pa.NativeFile) -> None:
    with pa.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)
