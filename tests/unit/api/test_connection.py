"""``Store.connect`` and ``Store.init``: the schema is checked node by node, and no connection is left open."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from millrace.api import Store
from millrace.errors import StoreSchemaError, StoreUnavailableError
from millrace.settings import Settings
from millrace.store.cluster.session import CassandraSession
from tests.unit.store.fakes import FakeCassandra, reset
from tests.unit.store.in_memory import cassandra, settings

__all__ = ["cassandra", "settings"]
Check = Callable[[Any], None]


@pytest.fixture
def closed(cassandra: FakeCassandra, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Return a list with one item for each close of the session that ``connect`` opens."""
    calls: list[bool] = []
    monkeypatch.setattr(CassandraSession, "connect", lambda _settings: cassandra)
    monkeypatch.setattr(cassandra, "close", lambda: calls.append(True))
    return calls


@contextmanager
def checked_by(check: Check) -> Iterator[list[str]]:
    """Replace the check of the schema; yield the addresses of the nodes that it asked."""
    asked: list[str] = []

    def check_schema(_session: Any, _settings: Any, host: Any) -> None:
        asked.append(host.address)
        check(host)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("millrace.api.connection.check_schema", check_schema)
        yield asked


def unreachable(*addresses: str) -> Check:
    def check(host: Any) -> None:
        if host.address in addresses:
            raise reset()

    return check


def test_the_schema_is_read_from_the_other_node_while_one_is_unreachable(
    settings: Settings, closed: list[bool]
) -> None:
    with checked_by(unreachable("10.0.0.1")) as asked:
        store = Store.connect(settings)
    assert asked == ["10.0.0.1", "10.0.0.2"]
    assert not closed
    store.close()
    assert closed == [True]


def test_connect_fails_and_closes_the_session_after_two_rounds_without_an_answer(
    settings: Settings, closed: list[bool]
) -> None:
    with checked_by(unreachable("10.0.0.1", "10.0.0.2")) as asked, pytest.raises(StoreUnavailableError):
        Store.connect(settings)
    assert asked == ["10.0.0.1", "10.0.0.2"] * 2
    assert closed == [True]


def test_a_wrong_schema_is_reported_by_the_first_node(settings: Settings, closed: list[bool]) -> None:
    def wrong(_host: Any) -> None:
        raise StoreSchemaError("keyspace 'ks' has schema 1, this Millrace has 3")

    with checked_by(wrong) as asked, pytest.raises(StoreSchemaError):
        Store.connect(settings)
    assert asked == ["10.0.0.1"]
    assert closed == [True]


@pytest.mark.parametrize("error", [None, StoreSchemaError("the keyspace has another schema")])
def test_init_creates_the_tables_and_closes_the_session(
    settings: Settings, cassandra: FakeCassandra, closed: list[bool], error: Exception | None
) -> None:
    created: list[Any] = []

    def create(session: Any, given: Any) -> None:
        created.append((session, given))
        if error is not None:
            raise error

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("millrace.api.connection.create_schema", create)
        if error is None:
            Store.init(settings)
        else:
            with pytest.raises(StoreSchemaError):
                Store.init(settings)
    assert created == [(cassandra.session, settings.cassandra)]
    assert closed == [True]
