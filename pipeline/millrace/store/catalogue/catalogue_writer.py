"""Write the catalogue: load attempts, records of under-replicated data, manifest pages and versions.

Every row is written through ``ReplicatedWriter``. If one node alone acknowledged it, the row is recorded as
under-replicated, like a chunk. A catalogue row on one node only would be lost together with that node.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4, uuid5

import xxhash

from millrace.store.catalogue.attempt import LoadAttempt, MetadataBucket
from millrace.store.catalogue.catalogue import ALL_DATASETS_PARTITION, DERIVED_DATASETS_PARTITION
from millrace.store.catalogue.insertions import insertion, using_clause
from millrace.store.catalogue.version import WITHDRAWN, Version
from millrace.store.cluster.flights import Write
from millrace.store.cluster.session import CassandraSession
from millrace.store.cluster.write_times import future_tombstone_timestamp
from millrace.store.cluster.writer import ReplicatedWriter

_INLINE_BYTES = 5_000
"""Schema and page list each stay in the version's row up to this size, which keeps the whole row below 16 KB."""

_SUMS = ("chunks", "rows", "raw_bytes", "stored_bytes")
_IDENTITY = ("dataset", "attempt_id", "run", "fingerprint", "role", "split", "first_row", "version", "started")
_LOAD_STATEMENTS = (
    ("under_replicated", ("dataset", "attempt_id", "bucket", "record_id", "chunks", "recorded_at")),
    ("pages", ("dataset", "attempt_id", "page", *_SUMS, "checksum", "data")),
    ("attempts", (*_IDENTITY, "last_seen", "buckets", "finished")),
)
"""The columns in the order that ``record_under_replicated``, ``page`` and ``heartbeat`` use, so that the prepared
statement texts are equal."""


class CatalogueWriter:
    """Writer of catalogue rows. Methods that write a row return the number of nodes that acknowledged it (1 or 2)."""

    def __init__(self, cassandra: CassandraSession, writes: ReplicatedWriter) -> None:
        self._cassandra = cassandra
        self._writes = writes

    def insert(
        self,
        table: str,
        description: str,
        values: dict[str, Any],
        *,
        record_key: tuple[str, UUID, int] | None = None,
        write_time: int | None = None,
        ttl_s: int | None = None,
    ) -> int:
        """Write one row of the catalogue; record ``record_key`` as under-replicated where one node alone
        acknowledged it.

        The record is written before the row while a replica is known to be unreachable, else after it. A loader may be
        killed between the two, and data on one node alone must be on record. A superfluous record is harmless: repair
        finds nothing missing and removes it. ``write_time`` is in microseconds; None is now. The row expires after
        ``ttl_s``; None is never.
        """
        using, last = using_clause(write_time, ttl_s)
        prepared = self._cassandra.prepare(insertion(table, values) + using)
        bindings = (*values.values(), *last)
        recorded = record_key and self._writes.is_degraded(self._cassandra.replicas(prepared.bind(bindings)))
        if record_key and recorded:
            self.record_under_replicated(*record_key, 0)

        def make(level: int) -> Any:
            bound = prepared.bind(bindings)
            bound.consistency_level = level
            return bound

        size = sum(len(v) if isinstance(v, (bytes, str)) else 16 for v in values.values())
        replicas = self._writes.write(Write(make, size, description)).replicas
        if record_key and replicas < 2 and not recorded:
            self.record_under_replicated(*record_key, 0)
        return replicas

    def prepare_statements(self) -> None:
        """Prepare the statements of a running load in advance, while all nodes respond.

        Preparing a statement asks one node, and an unresponsive node would block the load for seconds.
        """
        for table, columns in _LOAD_STATEMENTS:
            self._cassandra.prepare(insertion(table, columns))

    def record_under_replicated(self, dataset: str, attempt_id: UUID, bucket: int, chunks: int) -> int:
        """Record that part of the bucket is not proven to be on two nodes.

        Call it before the bucket's page is written.
        """
        return self.insert(
            "under_replicated",
            f"the record that {dataset} bucket {bucket} has one replica",
            {
                "dataset": dataset,
                "attempt_id": attempt_id,
                "bucket": bucket,
                "record_id": uuid4(),  # the key of a removed record is never written again
                "chunks": chunks,
                "recorded_at": datetime.now(UTC),
            },
        )

    def begin_attempt(self, row: LoadAttempt) -> int:
        """Insert the row of a load attempt before its first chunk, so that its data can be found later.

        The dataset's name is registered first, so that a dataset that never got a version can be cleaned up, too.
        """
        name = {"shard": ALL_DATASETS_PARTITION, "dataset": row.dataset}
        name_replicas = self.insert("datasets", f"the name {row.dataset}", name)
        values = {
            "dataset": row.dataset,
            "attempt_id": row.attempt_id,
            "run": row.run,
            "fingerprint": row.fingerprint,
            "role": row.role,
            "split": row.split,
            "try_number": row.try_number,
            "first_row": row.first_row,
            "version": row.version,
            "host": row.host,
            "started": row.started,
            "last_seen": row.started,
            "buckets": row.buckets,
            "finished": row.finished,
        }
        record_key = (row.dataset, row.attempt_id, MetadataBucket.CATALOGUE)
        row_replicas = self.insert("attempts", f"the attempt's row of {row.dataset}", values, record_key=record_key)
        if name_replicas < 2 <= row_replicas:
            self.record_under_replicated(*record_key, 0)
        return min(name_replicas, row_replicas)

    def register_derived(self, dataset: str, attempt_id: UUID) -> int:
        """Register that the dataset has versions made from others, before such a version is visible.

        A deletion reads the versions of these datasets alone. A missing replica is recorded under ``attempt_id``.
        """
        values = {"shard": DERIVED_DATASETS_PARTITION, "dataset": dataset}
        record_key = (dataset, attempt_id, MetadataBucket.CATALOGUE)
        return self.insert("datasets", f"the name of the derived {dataset}", values, record_key=record_key)

    def heartbeat(self, row: LoadAttempt, *, buckets: int, finished: bool) -> int:
        """Write the heartbeat of an attempt: it is active and has begun this many buckets.

        This is the only kind of row that is written again. Each heartbeat repeats the columns that identify the
        attempt, so that a node that was down when the attempt began does not hold half of the row. ``fenced`` is
        written by a sweep alone.
        """
        values = {name: getattr(row, name) for name in _IDENTITY}
        values |= {"last_seen": datetime.now(UTC), "buckets": buckets, "finished": finished}
        return self.insert("attempts", f"the attempt's row of {row.dataset}", values)

    def page(
        self,
        dataset: str,
        attempt_id: UUID,
        page: int,
        data: bytes,
        checksum: bytes,
        sums: dict[str, int],
        *,
        owner: UUID | None = None,
    ) -> int:
        """Write a manifest page, under a number that this attempt has not used before.

        A missing replica is recorded under ``owner``. With None the caller records it.
        """
        return self.insert(
            "pages",
            f"page {page} of {dataset}",
            {"dataset": dataset, "attempt_id": attempt_id, "page": page, **sums, "checksum": checksum, "data": data},
            record_key=None if owner is None else (dataset, owner, MetadataBucket.PAGES),
        )

    def store_out_of_line(self, dataset: str, label: str, page: int, blob: bytes) -> tuple[bytes, int]:
        """Return a small blob as it is, or store it in a page and return a reference to that page.

        The second value is the number of proven replicas.
        """
        if len(blob) <= _INLINE_BYTES:
            return blob, 2
        sums = {"chunks": 0, "rows": 0, "raw_bytes": 0, "stored_bytes": len(blob)}
        attempt_id, checksum, replicas = self.write_page_by_content(dataset, label, page, blob, sums)
        return json.dumps({"attempt_id": attempt_id.hex, "page": page, "checksum": checksum.hex()}).encode(), replicas

    def write_page_by_content(
        self, dataset: str, label: str, page: int, blob: bytes, sums: dict[str, int]
    ) -> tuple[UUID, bytes, int]:
        """Write a page whose attempt is derived from the version's label and the content.

        Returns that attempt, the checksum and the proven replicas. Two processes that publish the same merge therefore
        never write different bytes under one key.
        """
        checksum = xxhash.xxh3_128_digest(blob)
        attempt_id = uuid5(UUID(bytes=checksum), f"{dataset}@{label}")
        return attempt_id, checksum, self.page(dataset, attempt_id, page, blob, checksum, sums)

    def publish(self, version: Version) -> int:
        """Write the version's row, which makes it visible. Everything that it references must have been written before.

        Returns on how many nodes the row is proven to be. When that is one, the row is on record as under-replicated.
        """
        complete = replace(version, checksum=version.compute_checksum())
        values = {
            name: getattr(complete, name)
            for name in (
                "dataset", "number", "hex", "parent", "mode", "kind", "attempt_id", "attempts", "run", "code", "rows",
                "raw_bytes", "stored_bytes", "chunks", "page_count", "committed_at", "checksum",
            )
        }  # fmt: skip
        values |= {
            "source": json.dumps(version.source, sort_keys=True),
            "settings": json.dumps(version.settings, sort_keys=True),
            "arrow_schema": version.schema_blob,
            "pages": version.pages_blob,
        }
        if version.files_blob is not None:
            values["files"] = version.files_blob
        record_key = (version.dataset, version.attempt_id, MetadataBucket.CATALOGUE)
        return self.insert("versions", f"the version {version.reference}", values, record_key=record_key)

    def withdraw(self, version: Version) -> None:
        """Hide the version from readers for good: its data is incomplete or is in a later version.

        Its write time is later than that of a concurrent deletion or undelete of the version.
        """
        self.insert(
            "versions",
            f"the version {version.reference}",
            {
                "dataset": version.dataset,
                "number": version.number,
                "hex": version.hex,
                "deleted_at": datetime.now(UTC),
                "mark": WITHDRAWN,
            },
            write_time=future_tombstone_timestamp(),
        )
