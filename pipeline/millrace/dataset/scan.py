"""Read chunks ahead: fetch, verify and decode them concurrently within a limit of bytes, and deliver them in order."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa

from millrace.dataset.chunk_source import ChunkSource
from millrace.parallel import in_order
from millrace.settings import ReadSettings
from millrace.store import ChunkRef

_REQUEST_BYTES = 1_500_000
"""Maximum of a request for a few tiles of many chunks: small enough that its decoding overlaps with the next ones."""
_UNFINISHED_A_THREAD = 2


class Scan:
    """A read of the given chunks as record batches, in their order. Each batch has exactly the rows as written.

    Memory: at most ``window_bytes`` of stored bytes that are requested and not yet delivered, and four times as many
    decoded bytes.
    """

    def __init__(self, source: ChunkSource, settings: ReadSettings) -> None:
        self._source = source
        self._decoder = source.decoder
        self._settings = settings
        self._helper: ThreadPoolExecutor | None = None
        self._groups_in_progress = 0
        self._counting = threading.Lock()
        self.stats = source.stats

    def batches(self, refs: Iterable[ChunkRef], *, ahead: bool = True) -> Generator[pa.RecordBatch, None, None]:
        """Yield the batches, one per chunk; the error of a chunk is raised in place of its batch.

        Without ``ahead`` only the first chunk is requested until the caller asks for the second batch.
        """
        threads = self._settings.decode_threads or (os.cpu_count() or 1) + 2
        self._helper = ThreadPoolExecutor(1, thread_name_prefix="millrace-tiles") if threads > 1 else None
        refs = iter(refs)
        groups = in_order(
            self._read,
            self._groups(refs),
            threads=threads,
            name="millrace-read",
            unfinished_max=_UNFINISHED_A_THREAD * threads,
            bytes_max=self._settings.window_bytes,
            size_of=lambda group: sum(map(self._decoder.cost_bytes, group)),
        )
        try:
            for ref in [] if ahead else itertools.islice(refs, 1):
                # Yielded before the next chunk is located, which may be several pages later and may fail.
                yield from self._read([ref])
            for _, batches in groups:
                yield from batches.result()
        finally:
            groups.close()
            # The helper's thread ends with the last reference to it. shutdown() could deadlock: the garbage collector
            # may run this block for an abandoned generator in a thread that is inside submit() and holds the locks
            # that shutdown() takes.
            self._helper = None

    def _groups(self, refs: Iterable[ChunkRef]) -> Iterator[list[ChunkRef]]:
        """Yield the chunks of each request: one chunk, or for a few tiles several chunks of one bucket.

        A request for several chunks has at most ``_REQUEST_BYTES``.
        """
        group: list[ChunkRef] = []
        group_bytes = 0
        for ref in refs:
            size = self._decoder.cost_bytes(ref)
            is_same_bucket = group and (group[0].attempt_id, group[0].bucket) == (ref.attempt_id, ref.bucket)
            is_full = group_bytes + size > _REQUEST_BYTES
            # The first chunks show the decoded size, so they are requested one by one.
            if group and (
                self._decoder.tiles is None or not is_same_bucket or is_full or not self._decoder.is_measured
            ):
                yield group
                group, group_bytes = [], 0
            group.append(ref)
            group_bytes += size
        if group:
            yield group

    def _read(self, group: list[ChunkRef]) -> list[pa.RecordBatch]:
        with self._counting:
            self._groups_in_progress += 1
        try:
            return self._source.batches(group, self._idle_helper)
        finally:
            with self._counting:
                self._groups_in_progress -= 1

    def _idle_helper(self) -> ThreadPoolExecutor | None:
        """Return the thread that takes half of a chunk's tiles, unless another thread reads a chunk meanwhile."""
        # A read of a single chunk, as with a selective filter, takes less time with two threads if a core is idle.
        return None if self._groups_in_progress > 1 else self._helper
