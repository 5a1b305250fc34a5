"""What is written down beside the chunks: who writes, what owes a replica, what a version is.

Every row goes through the replicated writer and is counted like a chunk, because a catalogue on one node is as good
as lost with it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4, uuid5

import xxhash

from millrace.store.catalogue import ALL_DATASETS_PARTITION
from millrace.store.session import CassandraSession
from millrace.store.version import (
    CATALOGUE_BUCKET,
    PAGES_BUCKET,
    WITHDRAWN,
    LoadAttempt,
    Version,
    future_tombstone_timestamp,
)
from millrace.store.writer import ReplicatedWriter, Write

__all__ = ["CatalogueWriter"]

_INLINE_BYTES = 5_000
"""Schema and page list each stay in the version's row up to this size: the row as a whole stays under 16 KB."""


_SUMS = ("chunks", "rows", "raw_bytes", "stored_bytes")
_WHO = ("dataset", "writer", "run", "fingerprint", "split", "first_row", "version", "started")
_WHILE_LOADING = (
    ("under_replicated", ("dataset", "writer", "bucket", "note", "chunks", "noted_at")),
    ("pages", ("dataset", "writer", "page", *_SUMS, "checksum", "data")),
    ("writers", (*_WHO, "last_seen", "buckets", "finished")),
)
"""The columns in the order that ``record_under_replicated``, ``page`` and ``seen_writer`` use: one prepared text."""


def _insertion(table: str, columns: Iterable[str]) -> str:
    names = list(columns)
    marks = ", ".join("?" for _ in names)
    return f"INSERT INTO {{ks}}.{table} ({', '.join(names)}) VALUES ({marks})"  # noqa: S608 constant names


class CatalogueWriter:
    """Writes catalogue rows; each method returns on how many nodes its row is proven to be (1 or 2)."""

    def __init__(self, cassandra: CassandraSession, writes: ReplicatedWriter) -> None:
        self._cassandra = cassandra
        self._writes = writes

    def insert(
        self,
        table: str,
        what: str,
        values: dict[str, Any],
        *,
        owing: tuple[str, UUID, int] | None = None,
        written: int | None = None,
    ) -> int:
        """Write one row of the catalogue; record ``owing`` as under-replicated where one node alone acknowledged it.

        The record is written before the row while a replica is known to be unreachable, else after it: a loader may die
        in between, and data of one node alone must be on record. A superfluous record is harmless: repair finds nothing
        missing and removes it. ``written`` is the write time
        (microseconds), where it is not now.
        """
        using, last = ("", ()) if written is None else (" USING TIMESTAMP ?", (written,))
        prepared = self._cassandra.prepare(_insertion(table, values) + using)
        bindings = (*values.values(), *last)
        noted = owing and self._writes.is_short_of(self._cassandra.replicas(prepared.bind(bindings)))
        if owing and noted:
            self.record_under_replicated(*owing, 0)

        def make(level: int) -> Any:
            bound = prepared.bind(bindings)
            bound.consistency_level = level
            return bound

        size = sum(len(v) if isinstance(v, (bytes, str)) else 16 for v in values.values())
        replicas = self._writes.write(Write(make, size, what)).replicas
        if owing and replicas < 2 and not noted:
            self.record_under_replicated(*owing, 0)
        return replicas

    def make_ready(self) -> None:
        """What a load writes while it runs is prepared while nothing is wrong.

        To prepare a statement one node is asked, and a frozen one lets a load stand still for seconds.
        """
        for table, columns in _WHILE_LOADING:
            self._cassandra.prepare(_insertion(table, columns))

    def record_under_replicated(self, dataset: str, writer: UUID, bucket: int, chunks: int) -> int:
        """Says that something in the bucket is not proven to be on two nodes; before the bucket's page is written."""
        row = {
            "dataset": dataset,
            "writer": writer,
            "bucket": bucket,
            "note": uuid4(),  # a note that was cleared is never written again under its key
            "chunks": chunks,
            "noted_at": datetime.now(UTC),
        }
        return self.insert("under_replicated", f"the note that {dataset} bucket {bucket} has one replica", row)

    def begin_writer(self, row: LoadAttempt) -> int:
        """An attempt makes itself known before it writes its first chunk, so that what it leaves can be found.

        The dataset's name is registered first: a dataset that never got a version can be cleaned up, too.
        """
        name = {"shelf": ALL_DATASETS_PARTITION, "dataset": row.dataset}
        named = self.insert("datasets", f"the name {row.dataset}", name)
        values = {
            "dataset": row.dataset,
            "writer": row.writer,
            "run": row.run,
            "fingerprint": row.fingerprint,
            "split": row.split,
            "attempt": row.attempt,
            "first_row": row.first_row,
            "version": row.version,
            "host": row.host,
            "started": row.started,
            "last_seen": row.started,
            "buckets": row.buckets,
            "finished": row.finished,
        }
        owing = (row.dataset, row.writer, CATALOGUE_BUCKET)
        begun = self.insert("writers", f"the writer's row of {row.dataset}", values, owing=owing)
        if named < 2 <= begun:
            self.record_under_replicated(*owing, 0)
        return min(named, begun)

    def seen_writer(self, row: LoadAttempt, *, buckets: int, finished: bool) -> int:
        """The attempt is alive and has begun this many buckets. A heartbeat: the one kind of row written again.

        It says whose it is each time: a node that was away when the attempt began must not know half of it. Only
        ``attempt`` is never said again, which is where an attempt is condemned.
        """
        who = {name: getattr(row, name) for name in _WHO}
        values = {**who, "last_seen": datetime.now(UTC), "buckets": buckets, "finished": finished}
        return self.insert("writers", f"the writer's row of {row.dataset}", values)

    def page(
        self,
        dataset: str,
        writer: UUID,
        page: int,
        data: bytes,
        checksum: bytes,
        sums: dict[str, int],
        *,
        owner: UUID | None = None,
    ) -> int:
        """A manifest page, under a number that this writer has not used before.

        What it owes is on record under ``owner``; for None that is left to the caller.
        """
        values = {"dataset": dataset, "writer": writer, "page": page, **sums, "checksum": checksum, "data": data}
        owing = None if owner is None else (dataset, owner, PAGES_BUCKET)
        return self.insert("pages", f"page {page} of {dataset}", values, owing=owing)

    def store_out_of_line(self, dataset: str, label: str, page: int, blob: bytes) -> tuple[bytes, int]:
        """The blob itself when it is small, else a reference to a page that holds it; and the replicas proven."""
        if len(blob) <= _INLINE_BYTES:
            return blob, 2
        sums = {"chunks": 0, "rows": 0, "raw_bytes": 0, "stored_bytes": len(blob)}
        writer, checksum, replicas = self.named_by_content(dataset, label, page, blob, sums)
        return json.dumps({"writer": writer.hex, "page": page, "checksum": checksum.hex()}).encode(), replicas

    def named_by_content(
        self, dataset: str, label: str, page: int, blob: bytes, sums: dict[str, int]
    ) -> tuple[UUID, bytes, int]:
        """A page whose writer is made from the version's label and the content; that writer, and the checksum.

        So two who publish the same merge never write different bytes under one key.
        """
        checksum = xxhash.xxh3_128_digest(blob)
        writer = uuid5(UUID(bytes=checksum), f"{dataset}@{label}")
        return writer, checksum, self.page(dataset, writer, page, blob, checksum, sums)

    def publish(self, version: Version) -> int:
        """The version exists for readers afterwards; everything that it names must have been written before.

        Returns on how many nodes its row is proven to be; when that is one, the debt is on record.
        """
        complete = replace(version, checksum=version.compute_checksum())
        values = {
            name: getattr(complete, name)
            for name in (
                "dataset", "number", "hex", "parent", "mode", "kind", "writer", "writers", "run", "code", "rows",
                "raw_bytes", "stored_bytes", "chunks", "page_count", "committed_at", "checksum",
            )
        }  # fmt: skip
        values["source"] = json.dumps(version.source, sort_keys=True)
        values["settings"] = json.dumps(version.settings, sort_keys=True)
        values["arrow_schema"] = version.schema_blob
        values["pages"] = version.pages_blob
        owing = (version.dataset, version.writer, CATALOGUE_BUCKET)
        return self.insert("versions", f"the version {version.reference}", values, owing=owing)

    def withdraw(self, version: Version) -> None:
        """Readers see the version no more, for good: what it names is not all there, or is in a later version.

        Its write time is later than that of a deletion of the version, or of an undelete, at the same moment.
        """
        key = {"dataset": version.dataset, "number": version.number, "hex": version.hex}
        mark = {"deleted_at": datetime.now(UTC), "mark": WITHDRAWN}
        self.insert(
            "versions", f"the version {version.reference}", {**key, **mark}, written=future_tombstone_timestamp()
        )
