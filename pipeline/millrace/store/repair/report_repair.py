"""Restore the reports of runs on every node.

A report is written without a record in ``under_replicated``, because no data depends on it. A node that missed one gets
it by hinted handoff, or here.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from millrace.compat.cassandra import NODE_LOCAL
from millrace.store.catalogue.insertions import insertion, using_clause
from millrace.store.cluster.driver import TWO
from millrace.store.cluster.session import CassandraSession

_RUNS_MAX: Final = 1_000
_THREADS: Final = 4
_RUN_COLUMNS: Final = ("dataset", "started", "run", "state", "version", "rows", "rejects")
_REPORT_COLUMNS: Final = ("run", "dataset", "started", "state", "version", "report")


def repair_reports(cassandra: CassandraSession, dataset: str, *, runs_max: int = _RUNS_MAX) -> int:
    """Make the rows of the dataset's newest runs and their reports equal on every node; return the copies written.

    The newest copy of a row wins as a whole, because each write has all columns. It keeps its write time and the
    rest of its time to live. Raises ``StoreUnavailableError`` while a node does not respond.
    """
    where = f"dataset_runs WHERE dataset = ? LIMIT {runs_max:d}"
    copies = _compare(cassandra, _RUN_COLUMNS, where, dataset)

    def repair_report(run: str) -> int:
        reports = _compare(cassandra, _REPORT_COLUMNS, "reports WHERE run = ?", run)
        return _repair(cassandra, "reports", _REPORT_COLUMNS, reports)

    with ThreadPoolExecutor(_THREADS, thread_name_prefix="millrace-repair") as pool:
        written = sum(pool.map(repair_report, {row.run for rows in copies for row in rows}))
    return written + _repair(cassandra, "dataset_runs", _RUN_COLUMNS, copies)


def _compare(cassandra: CassandraSession, columns: tuple[str, ...], where: str, value: str) -> list[list[Any]]:
    """Return the rows as each node has them."""
    # The state is never null, and all columns of a row are written together.
    query = f"SELECT {', '.join(columns)}, WRITETIME(state) AS written, TTL(state) AS ttl FROM {{ks}}.{where}"  # noqa: S608 constant names
    statement = cassandra.prepare(query).bind((value,))
    statement.consistency_level = NODE_LOCAL
    return [cassandra.execute(statement, host=host) for host in cassandra.replicas(statement)]


def _repair(cassandra: CassandraSession, table: str, columns: tuple[str, ...], copies: list[list[Any]]) -> int:
    written = 0
    for newest, outdated in _differences(copies):
        row = {column: getattr(newest, column) for column in columns}
        using, last = using_clause(newest.written, newest.ttl)
        bound = cassandra.prepare(insertion(table, row) + using).bind((*row.values(), *last))
        bound.consistency_level = TWO
        cassandra.execute(bound)
        written += outdated
    return written


def _differences(copies: list[list[Any]]) -> Iterator[tuple[Any, int]]:
    """Yield the newest copy of each row of which a node has an older one or none, and the number of these nodes."""
    nodes = [{(row.run, row.started): row for row in rows} for rows in copies]
    for key in {key for node in nodes for key in node}:
        rows = [node[key] for node in nodes if key in node]
        newest = max(rows, key=lambda row: row.written)
        current = sum(row.written == newest.written for row in rows)
        if current < len(nodes):
            yield newest, len(nodes) - current
