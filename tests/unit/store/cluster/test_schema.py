from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest
from cassandra.protocol import OverloadedErrorMessage

from millrace.api import Store
from millrace.errors import InvalidSettingError, StoreSchemaError, StoreUnavailableError
from millrace.settings import CassandraSettings, Settings, load_settings
from millrace.store.cluster import schema
from millrace.store.cluster.session import CassandraSession

SETTINGS = CassandraSettings(keyspace="ks", local_dc="dc7")


def test_the_keyspace_is_created_first_and_every_table_once_with_if_not_exists() -> None:
    made = schema.statements(SETTINGS)
    assert made[0].startswith("CREATE KEYSPACE IF NOT EXISTS ks WITH replication")
    assert "'NetworkTopologyStrategy', 'dc7': 2" in made[0]
    names = [re.match(r"CREATE TABLE IF NOT EXISTS ks\.(\w+) \(", line)[1] for line in made[1:-2]]  # type: ignore[index]
    assert names == list(schema.TABLES)
    assert not any("{keyspace}" in line or "\n" in line for line in made)


def test_the_statements_end_with_those_of_the_upgrade_and_set_the_number_last() -> None:
    assert schema.statements(SETTINGS)[-2:] == [
        "ALTER TABLE ks.versions ADD IF NOT EXISTS files blob",
        "ALTER TABLE ks.versions WITH comment = 'millrace schema 4'",
    ]


@pytest.mark.parametrize("table", list(schema.TABLES))
def test_no_table_uses_read_repair_or_speculative_retry(table: str) -> None:
    """Last-write-wins may choose the damaged copy, and another node's response hides it."""
    text = " ".join(schema.TABLES[table].split())
    assert "read_repair = 'NONE'" in text
    assert "speculative_retry = 'NEVER'" in text


@pytest.mark.parametrize("table", ["chunks", "pages"])
def test_already_compressed_data_is_only_checksummed(table: str) -> None:
    assert "'class': 'NoopCompressor'" in schema.TABLES[table]


def test_nothing_needs_a_lightweight_transaction() -> None:
    """With one of two nodes down they cannot work. Every statement is in the source of the package."""
    from pathlib import Path

    import millrace

    for path in Path(millrace.__file__).parent.rglob("*.py"):
        for line in path.read_text().splitlines():
            assert not re.search(r"(INSERT|UPDATE|DELETE)[^\"]*\bIF\b", line), f"{path.name}: {line}"
            assert "LOGGED" not in line or "UNLOGGED" in line, f"{path.name}: {line}"


class Result(list[Any]):
    """The result of a statement, after which both nodes have the same schema unless ``is_agreed`` is false."""

    def __init__(self, rows: Iterable[Any] = (), *, is_agreed: bool = True) -> None:
        super().__init__(rows)
        self.response_future = SimpleNamespace(is_schema_agreed=is_agreed)

    def one(self) -> Any:
        return self[0] if self else None


class FakeSession:
    """A cluster of two nodes with the tables of a schema, which the statements of ``create`` change."""

    def __init__(self, factor: str | None = "2", number: int = schema.SCHEMA_NUMBER, lacks: str = "") -> None:
        self.executed: list[str] = []
        self.asked: list[Any] = []
        hosts = [SimpleNamespace(is_up=True, address=a, datacenter="dc7") for a in "ba"]
        self.cluster = SimpleNamespace(metadata=SimpleNamespace(all_hosts=lambda: hosts))
        self.factor, self.number = factor, number
        self.tables = {table for table in schema.TABLES if table != lacks}
        self.has_files = True
        self.killed_after: int | None = None
        self.is_agreed = True

    def execute(self, query: str, parameters: Any = None, timeout: float = 0, host: Any = None) -> Any:
        self.executed.append(query)
        self.asked.append(host)
        if "system_schema.keyspaces" in query:
            return Result([] if self.factor is None else [SimpleNamespace(replication={"dc7": self.factor})])
        if query.startswith("SELECT"):
            return Result(
                SimpleNamespace(table_name=name, comment=f"millrace schema {self.number}") for name in self.tables
            )
        if self.killed_after is not None and len(self.changes) > self.killed_after:
            raise KeyboardInterrupt
        if created := re.match(r"CREATE TABLE IF NOT EXISTS ks\.(\w+)", query):
            self.tables.add(created[1])
        elif "ADD IF NOT EXISTS files" in query:
            self.has_files = True
        elif number := re.search(r"WITH comment = 'millrace schema (\d+)'", query):
            self.number = int(number[1])
        return Result(is_agreed=self.is_agreed)

    @property
    def changes(self) -> list[str]:
        return [query for query in self.executed if not query.startswith("SELECT")]


def session_of_schema_3() -> FakeSession:
    session = FakeSession(number=3)
    session.tables -= {"reports", "dataset_runs"}
    session.has_files = False
    return session


@pytest.mark.parametrize(
    ("session", "message"),
    [
        (FakeSession(factor=None), "keyspace 'ks' does not exist: run: millrace init"),
        (FakeSession(factor="3"), "replication factor 3 in dc7: Millrace needs 2: use another keyspace"),
        (
            FakeSession(number=99),
            "has schema 99, this Millrace has 4: drop the keyspace and run millrace init, or use",
        ),
        (
            FakeSession(number=0),
            "has schema 0, this Millrace has 4: drop the keyspace and run millrace init, or use",
        ),
        (
            FakeSession(number=2),
            "has schema 2, this Millrace has 4: drop the keyspace and run millrace init, or use",
        ),
        (FakeSession(number=3), "keyspace 'ks' has schema 3, this Millrace has 4: millrace init upgrades it"),
        (FakeSession(lacks="pages"), "lacks pages: run: millrace init"),
    ],
)
def test_an_unusable_keyspace_is_refused_with_the_reason(session: FakeSession, message: str) -> None:
    with pytest.raises(StoreSchemaError, match=re.escape(message)):
        schema.check(session, SETTINGS)


def test_creating_tables_is_refused_with_a_node_down_before_any_is_created() -> None:
    session = FakeSession()
    session.cluster.metadata.all_hosts = lambda: [
        SimpleNamespace(is_up=True, address="10.0.0.1"),
        SimpleNamespace(is_up=False, address="10.0.0.2"),
    ]
    with pytest.raises(StoreUnavailableError, match=r"down: 10\.0\.0\.2"):
        schema.create(session, SETTINGS)
    assert session.executed == []


def test_creating_tables_is_refused_on_a_cluster_of_one_node() -> None:
    session = FakeSession()
    session.cluster.metadata.all_hosts = lambda: [SimpleNamespace(is_up=True, address="10.0.0.1")]
    with pytest.raises(StoreUnavailableError, match="the second node"):
        schema.create(session, SETTINGS)


@pytest.mark.parametrize("number", [0, 1, 2, 99])
def test_init_changes_nothing_in_a_keyspace_of_another_schema(number: int) -> None:
    session = FakeSession(number=number)
    with pytest.raises(StoreSchemaError, match=f"has schema {number}"):
        schema.create(session, SETTINGS)
    assert session.changes == []


def test_a_new_keyspace_is_created_without_the_statements_of_the_upgrade() -> None:
    session = FakeSession()
    session.tables.clear()
    assert schema.create(session, SETTINGS) is None
    assert session.changes == schema.statements(SETTINGS)[:-2]


def test_init_upgrades_schema_3_and_sets_the_number_last() -> None:
    session = session_of_schema_3()
    assert schema.create(session, SETTINGS) == 3
    assert session.changes == schema.statements(SETTINGS)
    assert (session.number, session.has_files, session.tables) == (4, True, set(schema.TABLES))
    assert schema.create(session, SETTINGS) is None


def test_all_changes_are_made_by_the_same_node_so_that_two_calls_never_create_a_table_twice() -> None:
    session = session_of_schema_3()
    schema.create(session, SETTINGS)
    assert {host.address for query, host in zip(session.executed, session.asked, strict=True) if host} == {"a"}
    assert all(host for query, host in zip(session.executed, session.asked, strict=True) if query in session.changes)


@pytest.mark.parametrize("killed_after", range(len(schema.TABLES) + 3))
def test_an_upgrade_that_was_killed_is_completed_by_the_next_call(killed_after: int) -> None:
    session = session_of_schema_3()
    session.killed_after = killed_after
    with pytest.raises(KeyboardInterrupt):
        schema.create(session, SETTINGS)
    assert session.number == 3
    with pytest.raises(StoreSchemaError, match="millrace init upgrades it"):
        schema.check(session, SETTINGS)
    session.killed_after = None
    assert schema.create(session, SETTINGS) == 3
    assert (session.number, session.has_files, session.tables) == (4, True, set(schema.TABLES))


def test_an_upgrade_stops_before_the_number_is_set_while_the_nodes_differ() -> None:
    session = session_of_schema_3()
    session.is_agreed = False
    with pytest.raises(StoreUnavailableError, match="the nodes do not have the same schema yet: run millrace init"):
        schema.create(session, SETTINGS)
    assert (len(session.changes), session.number) == (1, 3)


def test_an_upgrade_is_refused_while_a_node_is_down() -> None:
    session = session_of_schema_3()
    session.cluster.metadata.all_hosts()[0].is_up = False
    with pytest.raises(StoreUnavailableError, match="only while every node is up; down: b"):
        schema.create(session, SETTINGS)
    assert session.executed == []


@pytest.mark.parametrize("keyspace", ["Millrace", "a-b", 'x"; DROP KEYSPACE y; --', "", "a" * 49, "ks\n"])
def test_a_keyspace_outside_its_alphabet_is_refused_by_the_settings(keyspace: str) -> None:
    with pytest.raises(InvalidSettingError, match="MILLRACE_CASSANDRA__KEYSPACE"):
        load_settings(cassandra={"keyspace": keyspace})


def test_another_replication_factor_is_refused_by_the_settings() -> None:
    with pytest.raises(InvalidSettingError, match="MILLRACE_CASSANDRA__REPLICATION_FACTOR is 3"):
        load_settings(cassandra={"replication_factor": 3})


@pytest.mark.parametrize("stopping", [0, 1])
def test_a_node_that_shuts_down_does_not_prevent_connecting(stopping: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With round-robin, the second query of every attempt would reach it."""
    healthy = FakeSession()
    hosts = [SimpleNamespace(address="10.0.0.1"), SimpleNamespace(address="10.0.0.2")]
    turn = itertools.cycle(hosts)

    def execute(query: str, parameters: Any = None, timeout: float = 0, host: Any = None) -> Any:
        if (host or next(turn)) is hosts[stopping]:
            raise OverloadedErrorMessage(0x1001, "Server is shutting down", None)
        return healthy.execute(query, parameters)

    closed: list[str] = []
    cassandra: Any = SimpleNamespace(
        hosts=lambda: hosts, session=SimpleNamespace(execute=execute), close=lambda: closed.append("closed")
    )
    monkeypatch.setattr(CassandraSession, "connect", lambda _settings: cassandra)
    assert Store.connect(Settings(cassandra=SETTINGS)).cassandra is cassandra
    assert not closed
    assert len(healthy.executed) == 2


def test_tables_are_created_only_while_every_node_is_up() -> None:
    session = FakeSession()
    nodes = [SimpleNamespace(is_up=True, address="a"), SimpleNamespace(is_up=False, address="b")]
    for hosts, down in ((nodes, "b"), (nodes[:1], "the second node")):
        session.cluster.metadata.all_hosts = lambda hosts=hosts: hosts
        with pytest.raises(StoreUnavailableError, match=f"only while every node is up; down: {down}"):
            schema.create(session, SETTINGS)  # type: ignore[arg-type]
    assert session.executed == []
