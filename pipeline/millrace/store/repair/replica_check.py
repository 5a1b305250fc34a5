"""Find rows, pages and chunks that a visible version references but a replica does not have.

Each node is read on its own, so that a missing replica is found before it is needed.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

import xxhash
from cassandra.pool import Host

from millrace.errors import ChunkError, ChunkMissingError
from millrace.store.catalogue.catalogue import Catalogue
from millrace.store.catalogue.manifest import ChunkRef
from millrace.store.catalogue.version import MetadataBucket, Version
from millrace.store.cluster.session import NODE_LOCAL, CassandraSession
from millrace.store.repair.row_repair import RowRepair

__all__ = ["ReplicaCheck", "MissingReplica", "repairable"]

_PAGES = "SELECT page, checksum, data FROM {ks}.pages WHERE dataset = ? AND attempt_id = ? AND page IN ?"
_KEYS = "SELECT chunk, tile FROM {ks}.chunks WHERE dataset = ? AND attempt_id = ? AND bucket = ?"
_THREADS = 4
_REPLICAS = 2

PageKey = tuple[UUID, int]
"""Key of a page: its attempt and its number."""


@dataclass(frozen=True, slots=True)
class MissingReplica:
    """Data that one node lacks or has damaged. ``attempt_id`` and ``bucket`` are the record by which it is repaired."""

    dataset: str
    version: str
    node: str
    what: str
    attempt_id: UUID
    bucket: int

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON-compatible values."""
        return {
            "dataset": self.dataset,
            "version": self.version,
            "node": self.node,
            "what": self.what,
            "attempt_id": self.attempt_id.hex,
            "bucket": self.bucket,
        }


def repairable(lacks: Iterable[MissingReplica]) -> list[MissingReplica]:
    """Return the entries of which another node has a good copy. Data that both replicas lack cannot be repaired."""
    found = list(lacks)
    lacking = Counter((lack.dataset, lack.what) for lack in found)
    return [lack for lack in found if lacking[lack.dataset, lack.what] < _REPLICAS]


class ReplicaCheck:
    """Comparison of replicas. It writes nothing, and raises ``StoreError`` where a node does not respond.

    One instance checks data that several versions share only once.
    """

    def __init__(self, cassandra: CassandraSession, catalogue: Catalogue) -> None:
        self._cassandra = cassandra
        self._catalogue = catalogue
        self._seen: set[tuple[str, str, PageKey]] = set()

    def rows(self, dataset: str, version: Version) -> Iterator[MissingReplica]:
        """Yield catalogue rows of the dataset that a node lacks or that differ between nodes.

        These are the dataset's name, its versions and tags, and its rows in ``attempts``.
        """
        for table, key, host in RowRepair(self._cassandra).lacking(dataset):
            what = f"the row {', '.join(map(str, key))} of {table}"
            yield MissingReplica(
                dataset, version.label, str(host.address), what, version.attempt_id, MetadataBucket.CATALOGUE
            )

    def pages(self, version: Version) -> Iterator[MissingReplica]:
        """Yield manifest pages and page lists of the version that are missing or fail their checksum on a node."""
        wanted: dict[UUID, dict[int, bytes]] = {}
        owners: dict[UUID, UUID] = {}
        for (attempt_id, page), checksum, owner in self._named(version):
            if self._is_new("page", version, (attempt_id, page)):
                wanted.setdefault(attempt_id, {})[page] = checksum
                owners[attempt_id] = owner
        for attempt_id, pages in wanted.items():
            statement = self._cassandra.prepare(_PAGES).bind((version.dataset, attempt_id, list(pages)))
            for host, rows in self._of_each(statement):
                have = {row.page: row for row in rows}
                for page, checksum in pages.items():
                    if not _is_good(have.get(page), checksum):
                        what = f"page {page} of {attempt_id.hex[:12]}"
                        yield MissingReplica(
                            version.dataset, version.label, host, what, owners[attempt_id], MetadataBucket.PAGES
                        )

    def chunks(self, version: Version) -> Iterator[MissingReplica]:
        """Yield chunks of the version whose keys a node lacks.

        Whether a chunk is intact is found only by reading it (``verify``).
        """
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="millrace-audit") as pool:
            for page in self._catalogue.pages.each_ref(version):
                if not self._is_new("chunks", version, (page.attempt_id, page.page)):
                    continue
                try:
                    refs = self._catalogue.pages.page(version.dataset, page).refs()
                except (ChunkError, ChunkMissingError):
                    continue  # ``pages`` reports the page itself
                buckets = _by_bucket(refs)
                found = pool.map(partial(self._keys, version.dataset, page.attempt_id), buckets)
                for (bucket, named), each in zip(buckets.items(), found, strict=True):
                    for host, have in each:
                        for ref in named:
                            if have.get(ref.chunk, 0) < len(ref.tiles):
                                yield MissingReplica(
                                    version.dataset, version.label, host, f"chunk {ref}", ref.attempt_id, bucket
                                )

    def _keys(self, dataset: str, attempt_id: UUID, bucket: int) -> list[tuple[str, dict[int, int]]]:
        """Return for each node the number of its tiles by chunk."""
        statement = self._cassandra.prepare(_KEYS).bind((dataset, attempt_id, bucket))
        found = []
        for host, rows in self._of_each(statement):
            tiles: dict[int, int] = {}
            for row in rows:
                tiles[row.chunk] = tiles.get(row.chunk, 0) + 1
            found.append((host, tiles))
        return found

    def _named(self, version: Version) -> Iterator[tuple[PageKey, bytes, UUID]]:
        """Yield every page that the version references: its key, its checksum, and the attempt of its repair record."""
        for blob in (version.schema_blob, version.pages_blob):
            if blob and blob[:2] != b"\x1f\x8b":
                said = json.loads(blob)
                yield (UUID(hex=said["attempt_id"]), said["page"]), bytes.fromhex(said["checksum"]), version.attempt_id
        for one in self._catalogue.pages.lists(version)[0]:
            yield (one.attempt_id, one.page), one.checksum, version.attempt_id
        for page in self._catalogue.pages.each_ref(version):
            yield (page.attempt_id, page.page), page.checksum, page.attempt_id

    def _is_new(self, kind: str, version: Version, place: PageKey) -> bool:
        key = (kind, version.dataset, place)
        if key in self._seen:
            return False
        self._seen.add(key)
        return True

    def _of_each(self, statement: Any) -> Iterator[tuple[str, list[Any]]]:
        hosts: list[Host] = self._cassandra.replicas(statement)
        statement.consistency_level = NODE_LOCAL
        for host in hosts:
            yield str(host.address), self._cassandra.execute(statement, host=host)


def _is_good(row: Any, checksum: bytes) -> bool:
    return row is not None and row.data is not None and xxhash.xxh3_128_digest(row.data) == checksum == row.checksum


def _by_bucket(refs: Iterable[ChunkRef]) -> dict[int, list[ChunkRef]]:
    buckets: dict[int, list[ChunkRef]] = {}
    for ref in refs:
        buckets.setdefault(ref.bucket, []).append(ref)
    return buckets
