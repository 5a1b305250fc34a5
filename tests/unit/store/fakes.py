"""An in-memory cluster of two nodes that store rows and answer as the test decides.

Statements are the driver's own (prepared, bound, batched, serialized), so the tests see exactly the statements that
are sent. Each node has its own copy of every row. ``behave`` decides how a node answers an asynchronous write or probe.
"""

from __future__ import annotations

import re
import threading
from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from cassandra import ConsistencyLevel, InvalidRequest, Unavailable
from cassandra.cluster import NoHostAvailable
from cassandra.connection import ConnectionShutdown
from cassandra.cqltypes import lookup_casstype
from cassandra.protocol import ColumnMetadata
from cassandra.query import BatchStatement, BoundStatement, PreparedStatement

from millrace.compat.cassandra.large_frames import NODE_LOCAL
from millrace.settings import CassandraSettings
from millrace.store.cluster.driver import LOCAL_ONE, TWO
from millrace.store.cluster.node_monitor import NodeMonitor
from millrace.store.cluster.probe_round import ProbeTimes
from millrace.store.cluster.schema import TABLES
from millrace.store.cluster.session import CassandraSession

_CASS_TYPES = {
    "text": "UTF8Type", "uuid": "UUIDType", "int": "Int32Type", "smallint": "ShortType", "bigint": "LongType",
    "blob": "BytesType", "boolean": "BooleanType", "timestamp": "TimestampType",
}  # fmt: skip

QUICK_PROBES = ProbeTimes(switch_s=0.1, degrade_s=0.1, refuse_s=0.1, interval_s=0.03, resend_s=0.002)
"""Probes of nodes in memory, which are decided within hundredths of a second."""

_BOTH = (TWO, ConsistencyLevel.ALL)

Answer = Any
"""``"ok"``, ``"silent"`` (no answer until ``Attempt.answer``), or an exception."""


def _columns_of(table: str) -> tuple[dict[str, str], list[str], list[str]]:
    text = " ".join(TABLES[table].split())
    body = text[text.index("(") + 1 : text.index("PRIMARY KEY")]
    columns = dict(part.strip().split(" ") for part in body.strip().rstrip(",").split(","))
    partition, rest = re.search(r"PRIMARY KEY \(\(([^)]*)\)(.*?)\) ?\)", text).groups()  # type: ignore[union-attr]
    split = [name.strip() for name in partition.split(",")]
    return columns, split, [name.strip() for name in rest.split(",") if name.strip()]


@dataclass(eq=False)
class FakeHost:
    address: str
    is_up: bool | None = True
    rows: dict[str, dict[tuple[Any, ...], tuple[int, dict[str, Any]]]] = field(
        default_factory=lambda: {table: {} for table in TABLES}
    )

    @property
    def endpoint(self) -> str:
        return self.address

    def __str__(self) -> str:
        return self.address


@dataclass(eq=False)
class Attempt:
    """One asynchronous request as the driver would send it."""

    statement: Any
    host: FakeHost
    level: int
    apply: Callable[[], None]
    is_probe: bool
    rows: list[tuple[str, dict[str, Any]]]
    callbacks: list[tuple[Callable[[Any], None], Callable[[Any], None]]] = field(default_factory=list)
    result: Answer = None

    def add_callbacks(self, done: Callable[[Any], None], failed: Callable[[Any], None]) -> None:
        self.callbacks.append((done, failed))
        if self.result is not None:
            self._notify()

    def answer(self, result: Answer) -> None:
        if result == "ok":
            self.apply()
        self.result = result
        self._notify()

    def _notify(self) -> None:
        callbacks, self.callbacks = self.callbacks, []
        for done, failed in callbacks:
            done(None) if self.result == "ok" else failed(self.result)


class FakeCassandra(CassandraSession):
    """A ``CassandraSession`` without a cluster. ``attempts`` are all asynchronous requests, in order."""

    def __init__(self, behave: Callable[[Attempt], Answer] | None = None, **settings: Any) -> None:
        self.settings = CassandraSettings(keyspace="ks", **settings)
        self.a, self.b = FakeHost("10.0.0.1"), FakeHost("10.0.0.2")
        self.behave = behave or (lambda _attempt: "ok")
        self.attempts: list[Attempt] = []
        self.reads: list[tuple[str, int, str]] = []
        self.unreachable: dict[str, Exception] = {}
        self.node_local_allowed = True
        self.changed = threading.Condition()
        self._ids: dict[bytes, PreparedStatement] = {}
        self._prepared = {}
        self._background = set()
        self._clock = 0
        self.session: Any = SimpleNamespace(
            execute_async=self._execute_async, execute=self._execute, prepare=self._prepare_now
        )
        self._probes = self.session
        self.monitor = NodeMonitor(QUICK_PROBES)
        self.monitor.bind(lambda: self._probes, self.hosts)
        self.cluster: Any = SimpleNamespace(
            metadata=SimpleNamespace(
                cluster_name="fake",
                keyspaces={
                    "ks": SimpleNamespace(
                        tables={name: SimpleNamespace(columns=_columns_of(name)[0]) for name in TABLES}
                    )
                },
            ),
        )

    def hosts(self) -> list[Any]:
        return [self.a, self.b]

    def replicas(self, statement: Any) -> list[Any]:
        return [self.a, self.b]

    def close(self) -> None:
        pass

    def execute_watched(self, statement: Any, needed: Any, *, host: Any = None, **_limits: Any) -> list[Any]:
        return self.execute(statement, host=host)

    # --- for the tests

    def wait_for(self, condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
        with self.changed:
            assert self.changed.wait_for(condition, timeout_s), "it did not happen"

    def writes(self) -> list[Attempt]:
        return [attempt for attempt in self.attempts if not attempt.is_probe]

    def table(self, name: str, host: FakeHost | None = None) -> list[dict[str, Any]]:
        """Return the rows of a table in clustering order, of ``host`` alone or merged from both nodes."""
        hosts = [self.a, self.b] if host is None else [host]
        merged: dict[tuple[Any, ...], tuple[int, dict[str, Any]]] = {}
        for node in hosts:
            for key, (stamp, row) in list(node.rows[name].items()):  # other threads write meanwhile
                if key not in merged or merged[key][0] < stamp:
                    merged[key] = (stamp, row)
        rows = [row for _, row in merged.values()]
        _, partition, clustering = _columns_of(name)
        if name in ("versions", "dataset_runs"):
            return sorted(rows, key=lambda r: tuple(r[c] for c in (*partition, *clustering)), reverse=True)
        return sorted(rows, key=lambda r: tuple(r[c] for c in (*partition, *clustering)))

    # --- the driver's side

    def _prepare_now(self, query: str) -> PreparedStatement:
        if insert := re.fullmatch(r"INSERT INTO ks\.(\w+) \(([^)]*)\) VALUES .*", query):
            table = insert[1]
            given = [(name.strip(), "=") for name in insert[2].split(",")]
            given += [(f"[{word.lower()}]", "=") for word in re.findall(r"(?:USING|AND) (\w+)", query)]
        else:
            table, sets, where = _parts(query)
            clauses = map(_clause, [*(sets.split(", ") if sets else ()), *(where.split(" AND ") if where else ())])
            given = [("[timestamp]", "=")] if "USING TIMESTAMP" in query else []
            given += [clause[:2] for clause in clauses if clause[2] == "?"]
        columns, partition, _ = _columns_of(table)
        if query.startswith("SELECT") and " WHERE " not in query:
            partition = []
        names = [name for name, _ in given]
        metadata = [ColumnMetadata("ks", table, name, _type(name, how, columns)) for name, how in given]
        prepared = PreparedStatement(
            metadata, query.encode(), [names.index(c) for c in partition], query, None, 4, None, None
        )
        self._ids[query.encode()] = prepared
        return prepared

    def _execute_async(self, statement: Any, host: FakeHost, timeout: float) -> Attempt:
        is_probe = isinstance(statement, str)
        rows = [] if is_probe else self.decode(statement)
        level = LOCAL_ONE if is_probe else statement.consistency_level
        attempt = Attempt(statement, host, level, lambda: self._apply(rows, level, host), is_probe, rows)
        down = self.unreachable.get(host.address) if is_probe else None
        result = down or self.behave(attempt)
        with self.changed:
            self.attempts.append(attempt)
            self.changed.notify_all()
        if result != "silent":
            attempt.answer(result)
        return attempt

    def decode(self, statement: Any) -> list[tuple[str, dict[str, Any]]]:
        """Return (table, row) of every row that the statement writes, deserialized."""
        if isinstance(statement, BatchStatement):
            parts = [(self._ids[query], values) for _, query, values in statement._statements_and_parameters]
        else:
            parts = [(statement.prepared_statement, statement.values)]
        rows = []
        for prepared, values in parts:
            metadata = prepared.column_metadata
            row = {c.name: _value(c, v) for c, v in zip(metadata, values, strict=True) if c.name[0] != "["}
            rows.append((metadata[0].table_name, row))
        return rows

    def _apply(self, rows: list[tuple[str, dict[str, Any]]], level: int, host: FakeHost) -> None:
        with self.changed:
            for table, row in rows:
                columns, partition, clustering = _columns_of(table)
                key = tuple(row[name] for name in (*partition, *clustering))
                self._clock += 1
                for node in [self.a, self.b] if level in _BOTH else [host]:
                    before = node.rows[table].get(key, (0, dict.fromkeys(columns)))[1]
                    node.rows[table][key] = (self._clock, {**before, **row})
            self.changed.notify_all()

    def _execute(
        self, statement: BoundStatement, timeout: float | None = None, host: FakeHost | None = None
    ) -> list[Any]:
        level = statement.consistency_level
        batch = isinstance(statement, BatchStatement)
        query = "BATCH" if batch else statement.prepared_statement.query_string
        up = [node for node in (self.a, self.b) if node.address not in self.unreachable]
        asked = host or (up[0] if up else self.a)
        self.reads.append((query, level, asked.address if host or level not in _BOTH else "both"))
        if asked.address in self.unreachable:
            raise self.unreachable[asked.address]
        if level == NODE_LOCAL and not self.node_local_allowed:
            raise InvalidRequest("NODE_LOCAL is not allowed")
        if level in _BOTH and len(up) < 2:
            raise Unavailable("not enough", level, 2, len(up))
        if query.startswith("SELECT"):
            return self._select(query, statement, None if level in _BOTH else asked)
        rows = self.decode(statement)
        if query.startswith("UPDATE"):
            nulls = dict.fromkeys(re.findall(r"(\w+) = null", query))
            self._apply([(table, {**row, **nulls}) for table, row in rows], level, asked)
        if batch or query.startswith("INSERT"):
            self._apply(rows, level, asked)
        for node in [self.a, self.b] if level in _BOTH else [asked]:
            for table, key in rows if query.startswith("DELETE") else []:
                gone = [k for k, (_, row) in list(node.rows[table].items()) if key.items() <= row.items()]
                for k in gone:
                    del node.rows[table][k]
        return []

    def _select(self, query: str, statement: BoundStatement, host: FakeHost | None) -> list[Any]:
        names, table, where, limit = re.fullmatch(  # type: ignore[union-attr]
            r"SELECT (.*) FROM ks\.(\w+)(?: WHERE (.*?))?(?: LIMIT (\d+))?", query
        ).groups()
        rows = self.table(table, host)
        metadata = statement.prepared_statement.column_metadata
        values = iter([_value(c, v) for c, v in zip(metadata, statement.values, strict=True)])
        for name, operator, given in map(_clause, where.split(" AND ") if where else ()):
            value = next(values) if given == "?" else int(given)
            rows = [row for row in rows if _passes(name, operator, row, value)]
        asked = [name.strip().partition(" AS ")[::2] for name in names.split(",")]
        kind = namedtuple("Row", [alias or name for name, alias in asked])  # type: ignore[misc]
        limited = rows[: int(limit) if limit else None]
        return [kind(*(_cell(row, name) for name, _ in asked)) for row in limited]


def _cell(row: dict[str, Any], name: str) -> Any:
    """Return the value of a column, or its write time: 1 for every value, because no clock is wrong here.

    No row expires.
    """
    if written := re.fullmatch(r"WRITETIME\((\w+)\)", name):
        return None if row[written[1]] is None else 1
    if name.startswith("TTL("):
        return None
    return row[name]


def _parts(query: str) -> tuple[str, str | None, str | None]:
    """Return the table of a SELECT, DELETE or UPDATE, its SET clause, and its conditions."""
    using = r"(?: USING TIMESTAMP \?)?"
    if update := re.fullmatch(rf"UPDATE ks\.(\w+){using} SET (.*) WHERE (.*)", query):
        return update[1], update[2], update[3]
    match = re.fullmatch(rf"(?:SELECT .*|DELETE) FROM ks\.(\w+){using}(?: WHERE (.*?))?(?: LIMIT \d+)?", query)
    assert match is not None, query
    return match[1], None, match[2]


def _type(name: str, operator: str, columns: dict[str, str]) -> Any:
    kind = _CASS_TYPES[columns.get(name, "int")]
    if name == "[timestamp]":
        kind = "LongType"
    if name.startswith("("):
        kind = f"TupleType({', '.join(_CASS_TYPES[columns[part.strip()]] for part in name.strip('()').split(','))})"
    return lookup_casstype(f"ListType({kind})" if operator == "IN" else kind)


def _value(column: Any, data: bytes | None) -> Any:
    return None if data is None else column.type.from_binary(data, 4)


def _clause(text: str) -> tuple[str, str, str]:
    name, operator, given = re.fullmatch(r"(.*) (=|>=|<|IN) (\?|-?\d+|null)", text).groups()  # type: ignore[union-attr]
    return name, operator, given


def _passes(name: str, operator: str, row: dict[str, Any], value: Any) -> bool:
    if name.startswith("("):
        return tuple(row[part.strip()] for part in name.strip("()").split(",")) in [tuple(v) for v in value]
    actual = row[name]
    return {
        "=": lambda: bool(actual == value),
        ">=": lambda: bool(actual >= value),
        "<": lambda: bool(actual < value),
        "IN": lambda: actual in value,
    }[operator]()


def reset() -> Exception:
    """Return the error of every open request when a node is killed."""
    error: Exception = ConnectionShutdown("Connection reset by peer", "10.0.0.1")
    return error


def no_host(host: FakeHost, cause: Exception) -> NoHostAvailable:
    return NoHostAvailable("Unable to complete the operation", {host: cause})
