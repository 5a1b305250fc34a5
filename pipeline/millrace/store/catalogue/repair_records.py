"""Read the records of under-replicated data."""

from __future__ import annotations

from collections.abc import Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any
from uuid import UUID

from millrace.errors import StoreError
from millrace.store.catalogue.attempt import UnderReplicated
from millrace.store.catalogue.row_reader import RowReader

_TABLE_SCAN_ATTEMPTS = 500
"""Number of load attempts above which the whole ``under_replicated`` table is read. Reading the table costs about as
much as reading this many of its partitions."""
_ATTEMPTS_PER_REQUEST = 100
_CONCURRENT_REQUESTS = 4
"""Each request asks its coordinator for up to a hundred partitions."""
_SELECT = "SELECT dataset, attempt_id, bucket, record_id, chunks FROM {ks}.under_replicated"
_ONE_ATTEMPT = f"{_SELECT} WHERE dataset = ? AND attempt_id = ?"
_SEVERAL_ATTEMPTS = f"{_SELECT} WHERE dataset = ? AND attempt_id IN ?"


def read_records(reader: RowReader, dataset: str, attempts: Set[UUID]) -> list[UnderReplicated]:
    """Return the records of under-replicated data of these load attempts."""
    if len(attempts) > _TABLE_SCAN_ATTEMPTS:
        with suppress(StoreError):  # the table may be full of tombstones after a long outage
            return _scan_table(reader, dataset, attempts)
    ordered = sorted(attempts)
    groups = [ordered[start : start + _ATTEMPTS_PER_REQUEST] for start in range(0, len(ordered), _ATTEMPTS_PER_REQUEST)]
    records: list[UnderReplicated] = []
    with ThreadPoolExecutor(_CONCURRENT_REQUESTS, thread_name_prefix="millrace-records") as pool:
        for group, rows in zip(groups, pool.map(partial(_rows_from_both, reader, dataset), groups), strict=True):
            if rows is None:
                rows = [row for attempt_id in group for row in reader.rows(_ONE_ATTEMPT, (dataset, attempt_id))]
            records += map(_record, rows)
    return records


def _scan_table(reader: RowReader, dataset: str, attempts: Set[UUID]) -> list[UnderReplicated]:
    """Read the whole table, which is empty except after an outage.

    Reading 5,000 partitions took 0.8 s, reading the table 0.02 s.
    """
    return [_record(row) for row in reader.rows(_SELECT, ()) if row.dataset == dataset and row.attempt_id in attempts]


def _rows_from_both(reader: RowReader, dataset: str, attempts: list[UUID]) -> list[Any] | None:
    """Read the records of several load attempts in one request at ``TWO``.

    A version of 5,000 appends has 5,000 load attempts. Returns None for a single attempt, and while a replica is down
    or unresponsive.
    """
    if len(attempts) < 2:
        return None
    return reader.rows_from_both(reader.cassandra.prepare(_SEVERAL_ATTEMPTS).bind((dataset, attempts)))


def _record(row: Any) -> UnderReplicated:
    return UnderReplicated(row.dataset, row.attempt_id, row.bucket, row.record_id, row.chunks)
