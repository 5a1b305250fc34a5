"""Write a good copy of a manifest page over a missing or damaged one."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import xxhash
from cassandra.pool import Host

from millrace.compat.cassandra import NODE_LOCAL
from millrace.errors import StoreError
from millrace.store.cluster.driver import TWO
from millrace.store.cluster.session import CassandraSession
from millrace.store.cluster.write_times import later_than

_PAGE_COLUMNS = ("chunks", "rows", "raw_bytes", "stored_bytes", "checksum", "data")
_PAGES_HERE = (
    "SELECT page, chunks, rows, raw_bytes, stored_bytes, checksum, data, WRITETIME(data) AS at "
    "FROM {ks}.pages WHERE dataset = ? AND attempt_id = ?"
)
_PAGE = (
    "INSERT INTO {ks}.pages (dataset, attempt_id, page, chunks, rows, raw_bytes, stored_bytes, checksum, data) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?"
)


def repair_pages(cassandra: CassandraSession, dataset: str, attempt_id: UUID) -> int:
    """Restore every page of the attempt on every replica, and return how many copies were written.

    Raises ``StoreError`` for a page of which no node has a good copy, and while a node does not respond.
    """
    statement = cassandra.prepare(_PAGES_HERE).bind((dataset, attempt_id))
    hosts = cassandra.replicas(statement)
    copies = {host: _pages_on(cassandra, host, statement) for host in hosts}
    best = {number: row for rows in copies.values() for number, row in rows.items() if is_good_page(row)}
    written = 0
    for number, row in sorted(best.items()):
        outdated = [host for host in hosts if not is_good_page(copies[host].get(number))]
        if outdated:
            times = [rows[number].at for rows in copies.values() if number in rows]
            values = [getattr(row, column) for column in _PAGE_COLUMNS]
            again = cassandra.prepare(_PAGE).bind((dataset, attempt_id, number, *values, later_than(times)))
            again.consistency_level = TWO
            cassandra.execute(again)
            written += len(outdated)
    lost = {number for rows in copies.values() for number in rows} - set(best)
    if lost:
        raise StoreError(
            f"page {min(lost)} of {dataset}/{attempt_id.hex[:12]} is damaged on every node",
            hint="versions that reference it cannot be read; load them again",
            dataset=dataset,
            page=min(lost),
        )
    return written


def _pages_on(cassandra: CassandraSession, host: Host, statement: Any) -> dict[int, Any]:
    statement.consistency_level = NODE_LOCAL
    return {row.page: row for row in cassandra.execute(statement, host=host)}


def is_good_page(row: Any) -> bool:
    """Return whether a node has this row of ``pages`` with data that match its checksum."""
    return row is not None and row.data is not None and xxhash.xxh3_128_digest(row.data) == row.checksum
