"""Write a good copy of a chunk over a missing or damaged one, and verify that it was stored."""

from __future__ import annotations

from collections.abc import Sequence

from millrace.errors import ChunkError, StoreError
from millrace.store.catalogue.manifest import ChunkRef
from millrace.store.chunks.chunk_reader import ChunkReader


def repair_chunk(reader: ChunkReader, ref: ChunkRef) -> int:
    """Restore the chunk on every replica, verify each on its own, and return how many copies were written.

    A copy is written with a write time later than that of any copy on any node. A damaged copy with a write time in the
    future would otherwise win over the good one.

    Raises the error of the last bad replica when no replica has a good copy. Raises ``StoreUnavailableError`` or
    ``StoreTimeoutError`` while a replica does not respond.
    """
    good, errors = _copies(reader, ref)
    if not errors:
        return 0
    if good is None:
        raise errors[-1]
    reader.rewrite(ref, dict(enumerate(good)))
    _, remaining = _copies(reader, ref)
    if remaining:
        raise remaining[-1]
    return len(errors)


def _copies(reader: ChunkReader, ref: ChunkRef) -> tuple[Sequence[bytes] | None, list[Exception]]:
    """Return a good copy, or None, and the error of each replica with a bad or missing copy."""
    good: Sequence[bytes] | None = None
    errors: list[Exception] = []
    for host in reader.replicas(ref):
        try:
            good = reader.fetch_from(host, ref)
        except (ChunkError, StoreError) as error:
            if isinstance(error, StoreError) and "bucket" not in error.context:
                raise  # the node did not answer, so the state of its copy is unknown
            errors.append(error)
    return good, errors
