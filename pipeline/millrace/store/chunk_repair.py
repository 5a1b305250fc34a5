"""Write a good copy over a missing or damaged one, and verify that it was stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import xxhash
from cassandra.pool import Host

from millrace.errors import ChunkError, StoreError
from millrace.store.chunk_reader import ChunkReader, later_than
from millrace.store.manifest import ChunkRef
from millrace.store.session import NODE_LOCAL, TWO, CassandraSession

__all__ = ["ChunkRepair", "mend_pages"]

_PAGE_COLUMNS = ("chunks", "rows", "raw_bytes", "stored_bytes", "checksum", "data")
_PAGES_HERE = (
    "SELECT page, chunks, rows, raw_bytes, stored_bytes, checksum, data, WRITETIME(data) AS at "
    "FROM {ks}.pages WHERE dataset = ? AND writer = ?"
)
_PAGE = (
    "INSERT INTO {ks}.pages (dataset, writer, page, chunks, rows, raw_bytes, stored_bytes, checksum, data) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?"
)


class ChunkRepair:
    """Repair of chunks on all their replicas, from a copy with a correct checksum; ``mend_pages`` repairs pages.

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
        good, bad, last = self._judge(ref)
        if not bad:
            return 0
        if good is None:
            raise last or StoreError(f"chunk {ref}: no copy")
        self._reader.rewrite(ref, dict(enumerate(good)))
        _, still_bad, last = self._judge(ref)
        if still_bad and last is not None:
            raise last
        return len(bad)

    def _judge(self, ref: ChunkRef) -> tuple[Sequence[bytes] | None, list[Host], Exception | None]:
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


def mend_pages(cassandra: CassandraSession, dataset: str, writer: UUID) -> int:
    """Restore every page of the writer on every replica, and return how many copies were written.

    Raises ``StoreError`` for a page of which no node has a good copy, and while a node does not respond.
    """
    statement = cassandra.prepare(_PAGES_HERE).bind((dataset, writer))
    hosts = cassandra.replicas(statement)
    copies = {host: _pages_on(cassandra, host, statement) for host in hosts}
    best: dict[int, Any] = {}
    for rows in copies.values():
        for number, row in rows.items():
            if _good(row):
                best[number] = row
    written = 0
    for number, row in sorted(best.items()):
        lacking = [host for host in hosts if not _good(copies[host].get(number))]
        if lacking:
            times = [rows[number].at for rows in copies.values() if number in rows]
            values = [getattr(row, column) for column in _PAGE_COLUMNS]
            again = cassandra.prepare(_PAGE).bind((dataset, writer, number, *values, later_than(times)))
            again.consistency_level = TWO
            cassandra.execute(again)
            written += len(lacking)
    lost = {number for rows in copies.values() for number in rows} - set(best)
    if lost:
        raise StoreError(
            f"page {min(lost)} of {dataset}/{writer.hex[:12]} is damaged on every node",
            hint="versions that name it cannot be read; load them again",
            dataset=dataset,
            page=min(lost),
        )
    return written


def _pages_on(cassandra: CassandraSession, host: Host, statement: Any) -> dict[int, Any]:
    statement.consistency_level = NODE_LOCAL
    return {row.page: row for row in cassandra.execute(statement, host=host)}


def _good(row: Any) -> bool:
    return row is not None and row.data is not None and xxhash.xxh3_128_digest(row.data) == row.checksum
