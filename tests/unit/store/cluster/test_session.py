"""Errors of the driver, requests to unresponsive nodes, and the memory that the driver keeps."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from cassandra import (
    ConsistencyLevel,
    InvalidRequest,
    OperationTimedOut,
    ReadFailure,
    ReadTimeout,
    Unauthorized,
    Unavailable,
)
from cassandra.connection import ConnectionBusy, ConnectionException, ConnectionShutdown
from cassandra.protocol import IsBootstrappingErrorMessage, OverloadedErrorMessage, ServerError

from millrace.compat.cassandra.connection import WideConnection
from millrace.errors import StoreError, StoreTimeoutError, StoreUnavailableError
from millrace.settings import CassandraSettings
from millrace.store.cluster.driver import ResponsiveFirstPolicy
from millrace.store.cluster.node_monitor import NodeMonitor
from millrace.store.cluster.probe_round import ProbeTimes
from millrace.store.cluster.session import CassandraSession
from tests.ports import free_port
from tests.unit.store.fakes import FakeCassandra, FakeHost, no_host

HOST = FakeHost("10.0.0.1")


def session_that_raises(error: Exception | list[Exception]) -> Any:
    errors = iter(error) if isinstance(error, list) else None

    def fail(*_args: Any, **_kwargs: Any) -> Any:
        if errors is None:
            raise error  # type: ignore[misc]
        error_now = next(errors, None)
        if error_now is not None:
            raise error_now
        return SimpleNamespace()

    cassandra = FakeCassandra()
    cassandra.session = SimpleNamespace(execute=fail, prepare=fail)
    return cassandra


@pytest.mark.parametrize(
    "error",
    [
        ConnectionShutdown("reset", "10.0.0.1"),
        ConnectionException("closed", "10.0.0.1"),
        no_host(HOST, ConnectionShutdown("reset")),
        OverloadedErrorMessage(0x1001, "overloaded", None),
        IsBootstrappingErrorMessage(0x1002, "starting", None),
        ServerError(0, "java.lang.RuntimeException", None),
        Unavailable("down", ConsistencyLevel.TWO, 2, 1),
        ReadFailure("failed", consistency=1, required_responses=1, received_responses=0, failures=1),
    ],
    ids=lambda error: type(error).__name__,
)
def test_every_driver_error_of_an_unavailable_node_becomes_one_retriable_error(error: Exception) -> None:
    with pytest.raises(StoreUnavailableError, match=r"10\.0\.0\.1 did not respond") as caught:
        session_that_raises(error).execute("SELECT", host=HOST)
    assert caught.value.context["node"] == "10.0.0.1"


@pytest.mark.parametrize("error", [OperationTimedOut({}, HOST), ReadTimeout("late", consistency=1)])
def test_no_answer_in_time_is_a_timeout(error: Exception) -> None:
    with pytest.raises(StoreTimeoutError):
        session_that_raises(error).execute("SELECT")


@pytest.mark.parametrize("error", [InvalidRequest("unconfigured table"), Unauthorized("no rights")])
def test_a_request_that_every_node_would_refuse_is_not_retriable(error: Exception) -> None:
    with pytest.raises(StoreError, match="refused a request") as caught:
        session_that_raises(error).execute("SELECT")
    assert not caught.value.retriable


def test_a_request_on_a_full_connection_is_retried_until_its_timeout() -> None:
    """The driver refuses at once while a load's chunks fill the socket; nothing is wrong with the node."""
    busy = no_host(HOST, ConnectionBusy("overloaded"))
    answers: list[Any] = [busy, busy, busy]

    def execute(*_args: Any, **_kwargs: Any) -> list[Any]:
        if answers:
            raise answers.pop()
        return ["row"]

    cassandra = FakeCassandra()
    cassandra.session = SimpleNamespace(execute=execute)
    assert cassandra.execute("SELECT", host=HOST) == ["row"]
    with pytest.raises(StoreUnavailableError, match="overloaded"):
        session_that_raises(busy).execute("SELECT", host=HOST, timeout_s=0.05)


def test_a_statement_is_prepared_by_the_next_node_when_the_first_does_not_answer() -> None:
    cassandra = session_that_raises([OperationTimedOut({}, HOST), ConnectionShutdown("reset")])
    assert cassandra.prepare("SELECT 1").is_idempotent is True


def test_a_statement_that_no_node_prepares_is_a_store_timeout() -> None:
    with pytest.raises(StoreTimeoutError):
        session_that_raises(OperationTimedOut({}, HOST)).prepare("SELECT 1")


def test_a_statement_is_prepared_once() -> None:
    cassandra = session_that_raises([])
    assert cassandra.prepare("SELECT 1") is cassandra.prepare("SELECT 1")


class Pending:
    """A request that the test answers."""

    def __init__(self) -> None:
        self.rows: list[Any] | None = None
        self._calls: list[Callable[[Any], None]] = []

    def add_callbacks(self, done: Callable[[Any], None], _failed: Callable[[Any], None]) -> None:
        self._calls.append(done)
        if self.rows is not None:
            done(self.rows)

    def answer(self, rows: list[Any]) -> None:
        self.rows = rows
        for call in self._calls:
            call(rows)

    def result(self) -> list[Any]:
        assert self.rows is not None
        return self.rows


@dataclass(eq=False)
class Node:
    address: str
    endpoint: int
    datacenter: str = "dc1"
    is_up: bool = True


class Watched:
    """A session with two nodes and one pending request; the nodes in ``mute`` do not respond to probes."""

    def __init__(self, *, unresponsive_after_s: float) -> None:
        self.one, self.two = Node("10.0.0.1", 1), Node("10.0.0.2", 2)
        self.pending = Pending()
        self.mute: set[int] = set()
        self.in_the_ring: list[Any] = [self.two, self.one]
        metadata = SimpleNamespace(
            all_hosts=lambda: [self.two, self.one], get_replicas=lambda _keyspace, _key: self.in_the_ring
        )
        cluster: Any = SimpleNamespace(metadata=metadata)
        session: Any = SimpleNamespace(execute_async=lambda _statement, timeout, host: self.pending)
        self.monitor = NodeMonitor(ProbeTimes(switch_s=0.02, resend_s=0.002))
        settings = CassandraSettings(unresponsive_after_s=unresponsive_after_s)
        self.cassandra = CassandraSession(cluster, session, settings, self.monitor)
        probes: Any = SimpleNamespace(execute_async=self._probe)
        self.cassandra._probes = probes

    def _probe(self, _query: str, *, host: Any, timeout: float) -> Pending:
        probe = Pending()
        if host.endpoint not in self.mute:
            probe.answer([])
        return probe

    def ask(self) -> list[Any]:
        nodes: Any = [self.one, self.two]
        return self.cassandra.execute_watched("SELECT", nodes)


@pytest.mark.parametrize("known", [True, False], ids=["the driver says so", "only its connections have ended"])
def test_a_request_ends_at_once_when_a_node_it_needs_is_lost_although_its_coordinator_is_up(known: bool) -> None:
    watched = Watched(unresponsive_after_s=60)

    def lose() -> None:
        watched.mute.add(2)
        if known:
            watched.two.is_up = False
            watched.monitor.on_down(watched.two)
        else:
            watched.monitor.wake()

    threading.Timer(0.05, lose).start()
    with pytest.raises(StoreTimeoutError, match=r"10\.0\.0\.2 (is down|is unresponsive)"):
        watched.ask()


def test_a_request_continues_when_a_connection_it_does_not_need_is_lost() -> None:
    watched = Watched(unresponsive_after_s=60)

    def lose_and_answer() -> None:
        watched.monitor.wake()
        watched.pending.answer([1, 2])

    threading.Timer(0.05, lose_and_answer).start()
    assert watched.ask() == [1, 2]


def test_a_closed_connection_wakes_the_waiting_threads() -> None:
    monitor = NodeMonitor()
    changed = threading.Event()
    ended = WideConnection.__new__(type("Ended", (WideConnection,), {"on_close": staticmethod(monitor.wake)}))
    ended.is_closed, ended.lock = True, threading.Lock()
    with monitor.waking(changed):
        ended.close()
        assert changed.is_set()
    changed.clear()
    ended.close()
    assert not changed.is_set(), "no thread waits any more"


def test_a_node_that_fails_the_probe_is_given_up_and_queried_last_afterwards() -> None:
    watched = Watched(unresponsive_after_s=0.1)
    watched.mute.add(1)
    with pytest.raises(StoreTimeoutError, match=r"10\.0\.0\.1 is unresponsive"):
        watched.ask()
    policy = ResponsiveFirstPolicy(watched.monitor, "dc1")
    hosts: list[Any] = [watched.one, watched.two]
    policy.populate(SimpleNamespace(metadata=None), hosts)
    assert {next(iter(policy.make_query_plan())).endpoint for _ in range(4)} == {2}
    watched.mute.clear()
    node: Any = watched.one
    assert not watched.monitor.probe_unresponsive(node)
    assert {next(iter(policy.make_query_plan())).endpoint for _ in range(4)} == {1, 2}


def test_nodes_that_are_only_slow_are_waited_for() -> None:
    watched = Watched(unresponsive_after_s=0.1)
    threading.Timer(0.5, watched.pending.answer, [["row"]]).start()
    assert watched.ask() == ["row"]
    watched = Watched(unresponsive_after_s=0.1)
    watched.mute |= {1, 2}  # all of them are slow: the cluster is busy
    threading.Timer(0.5, watched.pending.answer, [["row"]]).start()
    assert watched.ask() == ["row"]


def test_the_order_of_replicas_is_stable_while_the_driver_shuffles_its_list() -> None:
    watched = Watched(unresponsive_after_s=1)
    statement: Any = SimpleNamespace(routing_key=b"k")
    both = [watched.one, watched.two]
    assert watched.cassandra.replicas(statement) == both
    watched.in_the_ring.reverse()
    assert watched.cassandra.replicas(statement) == both
    watched.in_the_ring.clear()
    assert watched.cassandra.replicas(statement) == both


def test_an_unreachable_cluster_is_a_one_line_error_with_addresses_and_a_hint() -> None:
    settings = CassandraSettings(contact_points=("127.0.0.1",), port=free_port(), connect_timeout_s=1.0)
    with pytest.raises(StoreUnavailableError, match=r"no Cassandra node responds at 127\.0\.0\.1:\d+") as caught:
        CassandraSession.connect(settings)
    assert "./run up" in str(caught.value)
    assert "\n" not in str(caught.value)
