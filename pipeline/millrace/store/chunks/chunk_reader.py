"""Fetch chunks from one replica, and from the other one after a fault. Every copy is verified by its checksum.

The order after the first replica depends on the fault:

* A tile is missing: the other replica, then ``TWO``.
* A replica is unresponsive: the other replica, then each node's own data (``NODE_LOCAL``), then ``TWO``.
* A checksum is wrong: the other replica, then each node's own data, never ``TWO``. The good copy is then written over
  the wrong one.

A chunk that is missing on one replica only is never reported as lost.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from cassandra.pool import Host
from cassandra.query import BatchStatement, BatchType

from millrace.compat.cassandra import NODE_LOCAL
from millrace.errors import ChecksumMismatchError, ChunkMissingError, StoreError
from millrace.store.catalogue.manifest import ChunkRef
from millrace.store.chunks.tile_checks import UNREACHABLE, Failure, collect_good, final_error
from millrace.store.cluster.driver import LOCAL_ONE, TWO
from millrace.store.cluster.session import CassandraSession
from millrace.store.cluster.write_times import later_than

_BUCKET = "dataset = ? AND attempt_id = ? AND bucket = ?"
_ALL = f"SELECT tile, data FROM {{ks}}.chunks WHERE {_BUCKET} AND chunk = ?"  # noqa: S608 constant names
_SOME = _ALL + " AND tile IN ?"
_MANY = f"SELECT chunk, tile, data FROM {{ks}}.chunks WHERE {_BUCKET} AND (chunk, tile) IN ?"  # noqa: S608 constant names
_TIMES = f"SELECT tile, WRITETIME(data) AS written FROM {{ks}}.chunks WHERE {_BUCKET} AND chunk = ?"  # noqa: S608 constant names
_INSERT = (
    "INSERT INTO {ks}.chunks (dataset, attempt_id, bucket, chunk, tile, data) VALUES (?, ?, ?, ?, ?, ?) "
    "USING TIMESTAMP ?"
)
_REPAIR_S = 5.0

Tiles = list[bytes]

logger = logging.getLogger(__name__)


class ChunkReader:
    """Reader of chunks, safe for many threads.

    ``fetch`` returns exactly the stored bytes that the manifest names, or raises.
    """

    def __init__(self, cassandra: CassandraSession) -> None:
        self._cassandra = cassandra

    def fetch(self, ref: ChunkRef, tiles: Sequence[int] | None = None) -> Tiles:
        """Return the tiles asked for (all when None), in that order, each verified against its checksum.

        Raises ``ChecksumMismatchError`` when every copy that can be read is wrong. Raises ``ChunkMissingError`` when no
        responding node has the chunk; ``unreachable`` in its context lists the nodes that did not respond. Raises
        ``StoreUnavailableError`` or ``StoreTimeoutError`` when no node responds.
        """
        numbers = list(range(len(ref.tiles)) if tiles is None else tiles)
        good: dict[int, bytes] = {}
        failures: list[Failure] = []
        for level, host in self._sources(ref):
            if not _may_help(level, failures):
                continue
            node = str(host.address) if host is not None else "TWO"
            try:
                copy = self._select(ref, None if tiles is None else numbers, level, host)
            except UNREACHABLE as error:
                failures.append((node, error))
                continue
            except StoreError:
                if level != NODE_LOCAL:
                    raise
                continue  # an external cluster may not allow ``NODE_LOCAL``
            # Keep the good tiles of a bad copy: two copies that are damaged in different tiles give a complete chunk
            # together.
            damage = collect_good(ref, numbers, copy, node, good)
            if damage is None:
                self._replace_wrong_copies(ref, good, failures)
                return [good[tile] for tile in numbers]
            failures.append((node, damage))
        raise final_error(ref, failures)

    def rewrite(self, ref: ChunkRef, tiles: Mapping[int, bytes], *, timeout_s: float | None = None) -> None:
        """Write the given tiles to both replicas, with a write time later than any existing copy's.

        A damaged copy with a write time in the future would otherwise win over the good one. Raises ``StoreError``.
        """
        statement = self._cassandra.prepare(_TIMES).bind((ref.dataset, ref.attempt_id, ref.bucket, ref.chunk))
        statement.consistency_level = NODE_LOCAL
        times = []
        for host in self._cassandra.replicas(statement):
            times += [row.written for row in self._cassandra.execute(statement, host=host, timeout_s=timeout_s)]
        insert = self._cassandra.prepare(_INSERT)
        batch = BatchStatement(BatchType.UNLOGGED, consistency_level=TWO)
        batch.is_idempotent = True
        for tile, data in tiles.items():
            batch.add(insert.bind((ref.dataset, ref.attempt_id, ref.bucket, ref.chunk, tile, data, later_than(times))))
        self._cassandra.execute(batch, timeout_s=timeout_s)

    def _replace_wrong_copies(self, ref: ChunkRef, good: Mapping[int, bytes], failures: Sequence[Failure]) -> None:
        """Write good tiles over the wrong copies of a chunk. A failure is logged and never fails the read."""
        nodes = ", ".join(node for node, error in failures if isinstance(error, ChecksumMismatchError))
        if not nodes:
            return
        try:
            self.rewrite(ref, good, timeout_s=_REPAIR_S)
        except StoreError as error:
            logger.warning(
                "the damaged copy of chunk %s on %s could not be overwritten (%s); the next read tries again",
                ref,
                nodes,
                error,
            )
        else:
            logger.warning("the damaged copy of chunk %s on %s was overwritten with the good copy", ref, nodes)

    def fetch_many(self, refs: Sequence[ChunkRef], tiles: Sequence[int]) -> list[Tiles]:
        """Return the same tiles of several chunks of one bucket, in one request; otherwise exactly like ``fetch``.

        Reading 2 of 40 tiles of every chunk was 22 to 27 times faster this way than reading all tiles. With one request
        for each chunk it was 5 to 8 times faster. Measured with 13 chunks of 4.8 MB in a bucket; both clustering orders
        differ by less than the noise.
        """
        if len(refs) == 1:
            return [self.fetch(refs[0], tiles)]
        bucket = (refs[0].dataset, refs[0].attempt_id, refs[0].bucket)
        keys = [(ref.chunk, tile) for ref in refs for tile in tiles]
        statement = self._cassandra.prepare(_MANY).bind((*bucket, keys))
        copies: dict[int, dict[int, bytes]] = {ref.chunk: {} for ref in refs}
        up = [host for host in self._cassandra.replicas(statement) if host.is_up is not False]
        up = [host for host in up if not self._cassandra.monitor.is_unresponsive(host)] or up
        # Without a replica that answers, each chunk is fetched on its own below, from one replica after the other.
        with suppress(*UNREACHABLE):
            for row in self._cassandra.execute_at(statement, up[refs[0].bucket % len(up)]) if up else []:
                copies[row.chunk][row.tile] = row.data
        return [self._checked_or_fetched(ref, tiles, copies[ref.chunk]) for ref in refs]

    def _checked_or_fetched(self, ref: ChunkRef, tiles: Sequence[int], copy: Mapping[int, bytes]) -> Tiles:
        good: dict[int, bytes] = {}
        damage = collect_good(ref, tiles, copy, "a replica", good)
        if damage is None:
            return [good[tile] for tile in tiles]
        fetched = self.fetch(ref, tiles)
        self._replace_wrong_copies(ref, dict(zip(tiles, fetched, strict=True)), [("a replica", damage)])
        return fetched

    def fetch_from(self, host: Host, ref: ChunkRef) -> Tiles:
        """Return all tiles from this node's own data alone (``NODE_LOCAL``), verified; raises like ``fetch``."""
        node = str(host.address)
        try:
            copy = self._select(ref, None, NODE_LOCAL, host)
        except UNREACHABLE as error:
            raise final_error(ref, [(node, error)]) from None
        good: dict[int, bytes] = {}
        if damage := collect_good(ref, range(len(ref.tiles)), copy, node, good):
            raise damage
        return list(good.values())

    def replicas(self, ref: ChunkRef) -> list[Host]:
        """Return the nodes that should hold the chunk."""
        return self._cassandra.replicas(self._bind(ref, None))

    def _sources(self, ref: ChunkRef) -> Iterator[tuple[int, Host | None]]:
        """Yield the consistency levels and nodes to read from, in order."""
        replicas = self.replicas(ref)
        up = [host for host in replicas if host.is_up is not False]
        # Chunks are spread over the replicas by their number, so that a sequential read uses both.
        start = ref.chunk % len(up) if up else 0
        spread = [*up[start:], *up[:start]]
        spread.sort(key=self._cassandra.monitor.is_unresponsive)
        for host in [*spread, *(host for host in replicas if host.is_up is False)]:
            yield LOCAL_ONE, host
        # A coordinator may have read from the other node (``dynamic_snitch``). Both reads above may have returned the
        # same copy, or may both have failed because of the same unreachable node.
        for host in up:
            yield NODE_LOCAL, host
        yield TWO, None

    def _bind(self, ref: ChunkRef, tiles: list[int] | None) -> Any:
        key = (ref.dataset, ref.attempt_id, ref.bucket, ref.chunk)
        if tiles is None:
            return self._cassandra.prepare(_ALL).bind(key)
        return self._cassandra.prepare(_SOME).bind((*key, tiles))

    def _select(self, ref: ChunkRef, tiles: list[int] | None, level: int, host: Host | None) -> dict[int, bytes]:
        statement = self._bind(ref, tiles)
        statement.consistency_level = level
        execute = self._cassandra.execute if host is None else self._cassandra.execute_at
        return {row.tile: row.data for row in execute(statement, host=host)}


def _may_help(level: int, failures: Sequence[Failure]) -> bool:
    """Return whether a read at this level can give a copy that the reads before could not.

    After a wrong checksum, ``TWO`` is not used: last-write-wins would choose between a good and a damaged copy. Where
    tiles were only missing, ``TWO`` finds them as well as ``NODE_LOCAL``.
    """
    if level == TWO:
        return not any(isinstance(error, ChecksumMismatchError) for _, error in failures)
    return level != NODE_LOCAL or not all(isinstance(error, ChunkMissingError) for _, error in failures)
