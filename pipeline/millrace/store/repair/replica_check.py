"""Find rows, pages and chunks that a visible version references but a replica does not have.

Each node is read on its own, so that a missing replica is found before it is needed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import groupby
from operator import attrgetter
from typing import Any
from uuid import UUID

from cassandra.pool import Host

from millrace.compat.cassandra import NODE_LOCAL
from millrace.errors import ChunkError, ChunkMissingError
from millrace.store.catalogue.attempt import MetadataBucket
from millrace.store.catalogue.catalogue import Catalogue
from millrace.store.catalogue.page_repair import is_good_page
from millrace.store.catalogue.version import Version
from millrace.store.cluster.session import CassandraSession
from millrace.store.repair.row_repair import row_differences

_PAGES = "SELECT page, checksum, data FROM {ks}.pages WHERE dataset = ? AND attempt_id = ? AND page IN ?"
_KEYS = "SELECT chunk, tile FROM {ks}.chunks WHERE dataset = ? AND attempt_id = ? AND bucket = ?"
_THREADS = 4
_REPLICAS = 2

PageKey = tuple[UUID, int]
"""Key of a page: its attempt and its number."""


@dataclass(frozen=True, slots=True)
class MissingReplica:
    """Data that is missing or damaged on one node.

    ``attempt_id`` and ``bucket`` are the key of the record by which it is repaired.
    """

    dataset: str
    version: str
    node: str
    data: str
    """The row, page or chunk, in words."""
    attempt_id: UUID
    bucket: int

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON-compatible values."""
        return {**asdict(self), "attempt_id": self.attempt_id.hex}


def repairable(missing: Sequence[MissingReplica]) -> list[MissingReplica]:
    """Return the entries of which another node has a good copy. Data that both replicas lack cannot be repaired."""
    nodes = Counter((replica.dataset, replica.data) for replica in missing)
    return [replica for replica in missing if nodes[replica.dataset, replica.data] < _REPLICAS]


class ReplicaCheck:
    """Comparison of replicas. It writes nothing, and raises ``StoreError`` where a node does not respond.

    One instance checks data that several versions share only once.
    """

    def __init__(self, cassandra: CassandraSession, catalogue: Catalogue) -> None:
        self._cassandra = cassandra
        self._catalogue = catalogue
        self._seen: set[tuple[str, str, PageKey]] = set()

    def missing_rows(self, dataset: str, version: Version) -> Iterator[MissingReplica]:
        """Yield catalogue rows of the dataset that a node lacks or that differ between nodes.

        These are the dataset's name, its versions and tags, and its rows in ``attempts``.
        """
        for table, key, host in row_differences(self._cassandra, dataset):
            row = f"the row {', '.join(map(str, key))} of {table}"
            yield MissingReplica(
                dataset, version.label, str(host.address), row, version.attempt_id, MetadataBucket.CATALOGUE
            )

    def missing_pages(self, version: Version) -> Iterator[MissingReplica]:
        """Yield pages and lists of the version that are missing or fail their checksum on a node."""
        checksums: dict[UUID, dict[int, bytes]] = {}
        owners: dict[UUID, UUID] = {}
        for (attempt_id, page), checksum, owner in self._referenced_pages(version):
            if self._is_new("page", version, (attempt_id, page)):
                checksums.setdefault(attempt_id, {})[page] = checksum
                owners[attempt_id] = owner
        for attempt_id, pages in checksums.items():
            statement = self._cassandra.prepare(_PAGES).bind((version.dataset, attempt_id, list(pages)))
            for node, rows in self._rows_by_node(statement):
                copies = {row.page: row for row in rows}
                for page, checksum in pages.items():
                    row: Any = copies.get(page)
                    if not is_good_page(row) or row.checksum != checksum:
                        name = f"page {page} of {attempt_id.hex[:12]}"
                        yield MissingReplica(
                            version.dataset, version.label, node, name, owners[attempt_id], MetadataBucket.PAGES
                        )

    def missing_chunks(self, version: Version) -> Iterator[MissingReplica]:
        """Yield chunks of the version whose keys a node lacks.

        Whether a chunk is intact is found only by reading it (``verify``).
        """
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="millrace-check") as pool:
            for page in self._catalogue.pages.each_ref(version):
                if not self._is_new("chunks", version, (page.attempt_id, page.page)):
                    continue
                try:
                    refs = self._catalogue.pages.page(version.dataset, page).refs()
                except (ChunkError, ChunkMissingError):
                    continue  # ``missing_pages`` reports the page itself
                buckets = [(bucket, list(chunks)) for bucket, chunks in groupby(refs, key=attrgetter("bucket"))]
                counts = pool.map(self._tile_counts, [(version.dataset, page.attempt_id, key) for key, _ in buckets])
                for (bucket, chunks), nodes in zip(buckets, counts, strict=True):
                    for node, tiles in nodes:
                        for ref in chunks:
                            if tiles[ref.chunk] < len(ref.tiles):
                                yield MissingReplica(
                                    version.dataset, version.label, node, f"chunk {ref}", ref.attempt_id, bucket
                                )

    def _tile_counts(self, partition: tuple[str, UUID, int]) -> list[tuple[str, Counter[int]]]:
        """Return for each node the number of its tiles by chunk."""
        statement = self._cassandra.prepare(_KEYS).bind(partition)
        return [(node, Counter(row.chunk for row in rows)) for node, rows in self._rows_by_node(statement)]

    def _referenced_pages(self, version: Version) -> Iterator[tuple[PageKey, bytes, UUID]]:
        """Yield every page that the version references: its key, its checksum, and the attempt of its repair record."""
        for attempt_id, number, checksum in self._catalogue.pages.out_of_line_keys(version):
            yield (attempt_id, number), checksum, version.attempt_id
        for page in self._catalogue.pages.each_ref(version):
            yield (page.attempt_id, page.page), page.checksum, page.attempt_id

    def _is_new(self, kind: str, version: Version, page: PageKey) -> bool:
        key = (kind, version.dataset, page)
        if key in self._seen:
            return False
        self._seen.add(key)
        return True

    def _rows_by_node(self, statement: Any) -> Iterator[tuple[str, list[Any]]]:
        hosts: list[Host] = self._cassandra.replicas(statement)
        statement.consistency_level = NODE_LOCAL
        for host in hosts:
            yield str(host.address), self._cassandra.execute(statement, host=host)
