"""Write a good copy over a missing or damaged one, and verify that it was stored."""

from __future__ import annotations

from collections.abc import Sequence

from cassandra.pool import Host

from millrace.errors import ChunkError, StoreError
from millrace.store.catalogue.manifest import ChunkRef
from millrace.store.chunks.chunk_reader import ChunkReader


class ChunkRepair:
    """Repair of chunks on all their replicas, from a copy with a correct checksum.

    A copy is written with a write time later than that of any copy on any node. A damaged copy with a write time in the
    future would otherwise win over the good one.
    """

    def __init__(self, reader: ChunkReader) -> None:
        self._reader = reader

    def chunk(self, ref: ChunkRef) -> int:
        """Restore the chunk on every replica, verify each on its own, and return how many copies were written.

        Raises the error of the last bad replica when no replica has a good copy. Raises ``StoreUnavailableError`` or
        ``StoreTimeoutError`` while a replica does not respond.
        """
        good, bad, last = self._copies(ref)
        if not bad:
            return 0
        if good is None:
            raise last or StoreError(f"chunk {ref}: no copy")
        self._reader.rewrite(ref, dict(enumerate(good)))
        _, still_bad, last = self._copies(ref)
        if still_bad and last is not None:
            raise last
        return len(bad)

    def _copies(self, ref: ChunkRef) -> tuple[Sequence[bytes] | None, list[Host], Exception | None]:
        good: Sequence[bytes] | None = None
        bad: list[Host] = []
        last: Exception | None = None
        for host in self._reader.replicas(ref):
            try:
                good = self._reader.fetch_from(host, ref)
            except (ChunkError, StoreError) as error:
                if isinstance(error, StoreError) and "bucket" not in error.context:
                    raise  # no answer at all: nothing is known about this copy
                bad.append(host)
                last = error
        return good, bad, last
