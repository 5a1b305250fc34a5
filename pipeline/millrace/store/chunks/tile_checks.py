"""Verify the tiles of one copy of a chunk, and choose the error of a chunk that has no good copy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import xxhash

from millrace.errors import (
    ChecksumMismatchError,
    ChunkMissingError,
    StoreTimeoutError,
    StoreUnavailableError,
)
from millrace.store.catalogue.manifest import ChunkRef

Failure = tuple[str, Exception]
"""The node that was read, or ``TWO``, and the error of the read."""
UNREACHABLE = (StoreUnavailableError, StoreTimeoutError)


def collect_good(
    ref: ChunkRef, tiles: Sequence[int], copy: Mapping[int, bytes], node: str, good: dict[int, bytes]
) -> ChecksumMismatchError | ChunkMissingError | None:
    """Add the tiles of a copy whose checksum is correct to ``good``, and return an error for the others, or None.

    Tiles that are in ``good`` already are not checked. A wrong tile takes precedence over a missing one.
    """
    missing: ChunkMissingError | None = None
    wrong: ChecksumMismatchError | None = None
    for tile in tiles:
        if tile in good:
            continue
        data, expected = copy.get(tile), ref.tiles[tile].stored_checksum
        if data is None:
            missing = missing or ChunkMissingError(
                f"tile {tile} of chunk {ref} is not on {node}", **_context(ref, tile, node)
            )
        elif (actual := xxhash.xxh3_128_digest(data)) == expected:
            good[tile] = data
        else:
            wrong = wrong or ChecksumMismatchError(
                f"tile {tile} of chunk {ref} from {node} has a wrong checksum",
                hint="the other replica is read; millrace verify --each-replica names the node of the damaged copy",
                stage="stored",
                expected=expected.hex(),
                actual=actual.hex(),
                **_context(ref, tile, node),
            )
    return wrong or missing


def _context(ref: ChunkRef, tile: int, node: str) -> dict[str, Any]:
    return {
        "dataset": ref.dataset,
        "attempt_id": ref.attempt_id.hex,
        "bucket": ref.bucket,
        "chunk": ref.chunk,
        "tile": tile,
        "node": node,
    }


def final_error(ref: ChunkRef, failures: Sequence[Failure]) -> Exception:
    """Return the error of a chunk that could not be read: a wrong checksum, else a missing tile, else no response."""
    unreachable = list(
        dict.fromkeys(node for node, error in failures if isinstance(error, UNREACHABLE) and node != "TWO")
    )
    for kind in (ChecksumMismatchError, ChunkMissingError):
        for error in (error for _, error in failures if isinstance(error, kind)):
            error.hint = "no node that should hold it has a good copy; load the dataset again"
            if unreachable:
                error.hint = f"{', '.join(unreachable)} did not answer and may have a good copy: millrace doctor"
                error.context["unreachable"] = unreachable
            return error
    reasons = "; ".join(f"{node}: {getattr(error, 'message', error)}" for node, error in failures)
    timed_out = all(isinstance(error, StoreTimeoutError) for _, error in failures)
    return (StoreTimeoutError if timed_out else StoreUnavailableError)(
        f"chunk {ref} cannot be read ({reasons})",
        hint="see millrace doctor; a node that is down still has its data",
        dataset=ref.dataset,
        chunk=ref.chunk,
        node=", ".join(unreachable),
    )
