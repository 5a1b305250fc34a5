"""Restore catalogue rows on every node, each column with its newest value and that value's write time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from typing import Any

from cassandra.pool import Host

from millrace.compat.cassandra import NODE_LOCAL
from millrace.errors import ChunkFormatError, StoreError
from millrace.store.catalogue.catalogue import ALL_DATASETS_PARTITION, DERIVED_DATASETS_PARTITION
from millrace.store.catalogue.insertions import insertion
from millrace.store.catalogue.version import Version
from millrace.store.cluster.driver import TWO
from millrace.store.cluster.session import CassandraSession

_KEYS: dict[str, tuple[str, ...]] = {
    "datasets": ("shard", "dataset"),
    "attempts": ("dataset", "attempt_id"),
    "versions": ("dataset", "number", "hex"),
    "tags": ("dataset", "tag"),
}

Cells = dict[str, tuple[int, Any]]
"""Write time (microseconds) and value by column."""


@dataclass(frozen=True, slots=True)
class _Difference:
    """A row with its newest cells, and the nodes where it differs or is missing."""

    key: tuple[Any, ...]
    newest: Cells
    hosts: tuple[Host, ...]


def repair_rows(cassandra: CassandraSession, dataset: str) -> int:
    """Make every catalogue row of the dataset equal on every node, and return how many copies were incomplete.

    A cell is written again with its original write time, so that no newer cell on any node is ever undone. A version's
    row that fails its checksum is replaced by a good one, with a later write time than any copy, and is never copied to
    another node.

    Raises ``StoreUnavailableError`` while a node does not respond, and ``StoreError`` for a version's row of which
    no node has a good copy.
    """
    return sum(_repair(cassandra, table, *key) for table in _KEYS for key in _keys_of(table, dataset))


def repair_version_row(cassandra: CassandraSession, version: Version) -> None:
    """Make the row of one version equal on every node. Raises as ``repair_rows`` does."""
    _repair(cassandra, "versions", version.dataset, version.number, version.hex)


def row_differences(cassandra: CassandraSession, dataset: str) -> list[tuple[str, tuple[Any, ...], Host]]:
    """Return table, key and node of every row that is missing on a node or differs there.

    A row counts only if two reads show the same difference: a row that is being written now (a heartbeat) is on one
    node before it is on the other.
    """
    first, second = (
        {
            (table, row.key, host): row.newest
            for table in _KEYS
            for key in _keys_of(table, dataset)
            for row in _compare(cassandra, table, *key)
            for host in row.hosts
        }
        for _ in range(2)
    )
    return [copy for copy, newest in first.items() if second.get(copy) == newest]


def _keys_of(table: str, dataset: str) -> list[tuple[Any, ...]]:
    """Return the first columns of the keys of a dataset's rows in this table."""
    if table != "datasets":
        return [(dataset,)]
    return [(partition, dataset) for partition in (ALL_DATASETS_PARTITION, DERIVED_DATASETS_PARTITION)]


def _repair(cassandra: CassandraSession, table: str, *values: Any) -> int:
    copies = 0
    for row in _compare(cassandra, table, *values):
        _write(cassandra, table, dict(zip(_KEYS[table], row.key, strict=True)), row.newest)
        copies += len(row.hosts)
    return copies


def _compare(cassandra: CassandraSession, table: str, *values: Any) -> Iterator[_Difference]:
    """Yield the rows that differ between nodes. ``values`` are those of the first columns of the key."""
    key, columns = _KEYS[table], _columns(cassandra, table)
    where = " AND ".join(f"{column} = ?" for column in key[: len(values)])
    times = "".join(f", WRITETIME({column}) AS {column}_written" for column in columns)
    query = f"SELECT {', '.join((*key, *columns))}{times} FROM {{ks}}.{table} WHERE {where}"  # noqa: S608 constant names
    statement = cassandra.prepare(query).bind(values)
    statement.consistency_level = NODE_LOCAL
    hosts = cassandra.replicas(statement)
    copies = [
        {tuple(getattr(row, k) for k in key): row for row in cassandra.execute(statement, host=host)} for host in hosts
    ]
    for row_key in sorted({row_key for copy in copies for row_key in copy}):
        rows = [copy.get(row_key) for copy in copies]
        cells = [{} if row is None else _cells(row, columns) for row in rows]
        newest = _newest_version(rows, cells) if table == "versions" else _newest(cells)
        outdated = [row is None or _differs(copy, newest) for row, copy in zip(rows, cells, strict=True)]
        if any(outdated):
            yield _Difference(row_key, newest, tuple(compress(hosts, outdated)))


def _columns(cassandra: CassandraSession, table: str) -> list[str]:
    keyspace = cassandra.settings.keyspace
    described = cassandra.cluster.metadata.keyspaces[keyspace].tables[table]
    return [column for column in described.columns if column not in _KEYS[table]]


def _write(cassandra: CassandraSession, table: str, key: dict[str, Any], newest: Cells) -> None:
    by_time: dict[int | None, dict[str, Any]] = {}
    for column, (at, value) in newest.items():
        by_time.setdefault(at, {})[column] = value
    if not by_time:
        by_time[None] = {}
    for write_time, values in by_time.items():
        row = {**key, **values}
        using, last = ("", ()) if write_time is None else (" USING TIMESTAMP ?", (write_time,))
        bound = cassandra.prepare(insertion(table, row) + using).bind((*row.values(), *last))
        bound.consistency_level = TWO
        cassandra.execute(bound)


def _cells(row: Any, columns: Sequence[str]) -> Cells:
    cells = {column: (getattr(row, f"{column}_written"), getattr(row, column)) for column in columns}
    return {column: cell for column, cell in cells.items() if cell[0] is not None}


def _newest(copies: Sequence[Cells]) -> Cells:
    columns = dict.fromkeys(column for copy in copies for column in copy)
    return {
        column: max((copy[column] for copy in copies if column in copy), key=lambda cell: cell[0]) for column in columns
    }


def _newest_version(rows: Sequence[Any], copies: Sequence[Cells]) -> Cells:
    newest = _newest(copies)
    good = [copy for row, copy in zip(rows, copies, strict=True) if row is not None and _is_intact(row)]
    if "purged_at" in newest or len(good) == sum(row is not None for row in rows):
        return newest
    if not good:
        row = next(row for row in rows if row is not None)
        raise StoreError(
            f"the row of {row.dataset}@{row.number}-{row.hex} is damaged on every node",
            hint="the version cannot be read; load it again",
            dataset=row.dataset,
        )
    later = max(at for at, _ in newest.values()) + 1
    cells: Cells = {column: (later, value) for column, (_, value) in good[0].items()}
    return cells | {column: newest[column] for column in ("deleted_at", "mark") if column in newest}


def _is_intact(row: Any) -> bool:
    try:
        version = Version.from_row(row.dataset, row)
    except ChunkFormatError:
        return False
    content = replace(version, schema_blob=row.arrow_schema, pages_blob=row.pages, files_blob=row.files)
    return bool(content.compute_checksum() == row.checksum)


def _differs(copy: Cells, newest: Cells) -> bool:
    return any(column not in copy or copy[column][1] != value for column, (_, value) in newest.items())
