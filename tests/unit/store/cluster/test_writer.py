"""Every row of the table "Writing with one replica down" in docs/architecture.md, against a cluster in memory."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from cassandra import ConsistencyLevel, InvalidRequest, OperationTimedOut, Unavailable, WriteFailure, WriteTimeout
from cassandra.connection import ConnectionBusy
from cassandra.protocol import OverloadedErrorMessage

from millrace.errors import StoreError, StoreUnavailableError
from millrace.store.cluster.driver import LOCAL_ONE, TWO
from millrace.store.cluster.writer import Outcome, ReplicatedWriter, Write
from tests.unit.store.fakes import Attempt, FakeCassandra, FakeHost, no_host, reset
from tests.waiting import until

UNAVAILABLE = Unavailable("one node is down", ConsistencyLevel.TWO, 2, 1)
WRITE_TIMEOUT = WriteTimeout("timed out", write_type=0, consistency=TWO, required_responses=2, received_responses=1)
QUICK = {"unresponsive_after_s": 0.1, "request_timeout_s": 0.5}
DEADLINE_S = 20
Make = Callable[..., ReplicatedWriter]


class Statement(SimpleNamespace):
    """A stand-in for the statement of ``Write.make`` in tests where only its consistency level matters."""

    @property
    def prepared_statement(self) -> Any:
        return SimpleNamespace(column_metadata=[SimpleNamespace(table_name="chunks")])

    values: tuple[Any, ...] = ()


def a_write(size_bytes: int = 1000, description: str = "chunk 1") -> Write:
    return Write(lambda level: Statement(consistency_level=level), size_bytes, description)


def cluster(behave: Callable[[Attempt], Any], **settings: Any) -> FakeCassandra:
    cassandra = FakeCassandra(behave, **{**QUICK, **settings})
    cassandra.decode = lambda statement: []  # type: ignore[method-assign]
    return cassandra


def levels(cassandra: FakeCassandra) -> list[tuple[str, int]]:
    return [(attempt.host.address, attempt.level) for attempt in cassandra.writes()]


def test_with_both_nodes_up_a_write_is_acknowledged_at_two(make_writer: Make) -> None:
    cassandra = cluster(lambda _: "ok")
    writer = make_writer(cassandra)
    assert writer.write(a_write()) == Outcome(replicas=2, retries=0)
    assert [level for _, level in levels(cassandra)] == [TWO]
    assert (writer.stats.acknowledged, writer.stats.degraded) == (1, 0)


def test_both_nodes_take_turns_as_coordinators(make_writer: Make) -> None:
    cassandra = cluster(lambda _: "ok")
    writer = make_writer(cassandra)
    for _ in range(6):
        writer.write(a_write())
    assert {address for address, _ in levels(cassandra)} == {"10.0.0.1", "10.0.0.2"}


def test_after_a_connection_reset_writes_go_to_the_other_node_alone(make_writer: Make) -> None:
    cassandra = cluster(lambda attempt: no_host(attempt.host, reset()) if attempt.host.address == "10.0.0.1" else "ok")
    writer = make_writer(cassandra)
    outcomes = [writer.submit(a_write()).result(DEADLINE_S) for _ in range(4)]
    assert min(o.replicas for o in outcomes) == 1
    assert ("10.0.0.2", LOCAL_ONE) in levels(cassandra)
    assert writer.stats.degraded >= 1


def test_a_reset_retries_at_once_the_writes_whose_coordinator_waits_for_the_dead_node(make_writer: Make) -> None:
    """B coordinates a write and waits for A. After A resets another one, the write at B does not wait for a timeout."""
    pending: list[Attempt] = []

    def behave(attempt: Attempt) -> Any:
        if attempt.is_probe:
            return "ok" if attempt.host is cassandra.b else reset()
        if attempt.level == TWO:
            pending.append(attempt)
            return "silent"
        return "ok"

    cassandra = cluster(behave, unresponsive_after_s=60.0, request_timeout_s=60.0)
    writer = make_writer(cassandra)
    futures = [writer.submit(a_write()) for _ in range(2)]
    cassandra.wait_for(lambda: len(pending) == 2)
    at_a = next(attempt for attempt in pending if attempt.host is cassandra.a)
    at_a.answer(reset())
    assert [f.result(DEADLINE_S).replicas for f in futures] == [1, 1]
    assert [pair for pair in levels(cassandra) if pair[1] == LOCAL_ONE] == [("10.0.0.2", LOCAL_ONE)] * 2


def test_a_write_whose_coordinator_waits_for_a_node_that_the_driver_calls_down_is_retried(make_writer: Make) -> None:
    """The only write is at the healthy coordinator, so no request is reset and only the driver reports the loss."""

    def behave(attempt: Attempt) -> Any:
        return "silent" if attempt.level == TWO or attempt.is_probe else "ok"

    cassandra = cluster(behave, unresponsive_after_s=60.0, request_timeout_s=60.0)
    writer = make_writer(cassandra)
    future = writer.submit(a_write())
    cassandra.wait_for(lambda: len(cassandra.writes()) == 1)
    coordinator = cassandra.writes()[0].host
    other = cassandra.b if coordinator is cassandra.a else cassandra.a
    other.is_up = False
    cassandra.monitor.on_down(other)
    assert future.result(DEADLINE_S).replicas == 1
    assert levels(cassandra)[1] == (coordinator.address, LOCAL_ONE)


def test_after_unavailable_the_coordinator_writes_alone_at_once(make_writer: Make) -> None:
    cassandra = cluster(lambda attempt: UNAVAILABLE if attempt.level == TWO else "ok")
    writer = make_writer(cassandra)
    assert writer.write(a_write()) == Outcome(replicas=1, retries=1)
    (first, _), (second, level) = levels(cassandra)[:2]
    assert (first, level) == (second, LOCAL_ONE)


def test_a_frozen_node_is_found_by_probes_and_its_writes_go_to_the_other(make_writer: Make) -> None:
    cassandra = cluster(lambda attempt: "silent" if attempt.host.address == "10.0.0.1" else frozen_peer(attempt))

    def frozen_peer(attempt: Attempt) -> Any:
        return "silent" if attempt.level == TWO and not attempt.is_probe else "ok"

    writer = make_writer(cassandra, window_bytes=20_000_000)
    futures = [writer.submit(a_write()) for _ in range(4)]
    assert [f.result(DEADLINE_S).replicas for f in futures] == [1] * 4
    assert all(pair == ("10.0.0.2", LOCAL_ONE) for pair in levels(cassandra) if pair[1] == LOCAL_ONE)
    assert any(attempt.is_probe for attempt in cassandra.attempts)


def test_a_slow_node_that_answers_the_probe_is_not_suspected(make_writer: Make) -> None:
    asked = threading.Event()
    pending: list[Attempt] = []

    def behave(attempt: Attempt) -> Any:
        if attempt.is_probe:
            if len([a for a in cassandra.attempts if a.is_probe]) >= 5:
                asked.set()
            return "ok"
        pending.append(attempt)
        return "silent"

    cassandra = cluster(behave, request_timeout_s=60.0)
    writer = make_writer(cassandra)
    future = writer.submit(a_write())
    assert asked.wait(DEADLINE_S)
    assert [attempt.level for attempt in pending] == [TWO]
    pending[0].answer("ok")
    assert future.result(DEADLINE_S) == Outcome(replicas=2, retries=0)


@pytest.mark.parametrize("frozen", [False, True])
def test_a_probe_on_a_full_connection_suspects_only_a_frozen_node(frozen: bool, make_writer: Make) -> None:
    """Both refuse the first probes; only the busy node answers one before the decision."""
    refusals = iter(range(1000))
    asked = threading.Event()

    def behave(attempt: Attempt) -> Any:
        if attempt.is_probe and attempt.host.address == "10.0.0.1":
            full = frozen or next(refusals) < 2
            if not full:
                asked.set()
            return no_host(attempt.host, ConnectionBusy("overloaded")) if full else "ok"
        return "silent" if attempt.level == TWO and not attempt.is_probe else "ok"

    cassandra = cluster(behave, request_timeout_s=60.0)
    writer = make_writer(cassandra)
    future = writer.submit(a_write())
    if frozen:
        assert future.result(DEADLINE_S).replicas == 1
        return
    assert asked.wait(DEADLINE_S)
    (attempt,) = cassandra.writes()
    attempt.answer("ok")
    assert future.result(DEADLINE_S) == Outcome(replicas=2, retries=0)


def test_a_suspect_that_answers_a_probe_is_written_to_again(make_writer: Make) -> None:
    down = {"10.0.0.1"}
    cassandra = cluster(lambda attempt: no_host(attempt.host, reset()) if attempt.host.address in down else (
        UNAVAILABLE if down and attempt.level == TWO and not attempt.is_probe else "ok"))  # fmt: skip
    writer = make_writer(cassandra)
    assert writer.write(a_write()).replicas == 1
    down.clear()
    probes = len([a for a in cassandra.attempts if a.is_probe])
    cassandra.wait_for(lambda: len([a for a in cassandra.attempts if a.is_probe]) > probes)

    def proven_on_two() -> bool:
        return writer.write(a_write()).replicas == 2

    assert any(proven_on_two() for _ in range(1000))


@pytest.mark.parametrize(
    "busy",
    [
        lambda host: no_host(host, ConnectionBusy("in flight")),
        lambda _: OverloadedErrorMessage(0x1001, "overloaded", None),
        lambda _: WriteTimeout("timed out", write_type=0, consistency=TWO, required_responses=2, received_responses=1),
    ],
    ids=["connection busy", "overloaded", "write timeout"],
)
def test_a_busy_cluster_halves_the_window_and_fails_no_write(
    busy: Callable[[FakeHost], Any], make_writer: Make
) -> None:
    answers = iter(range(1000))
    cassandra = cluster(lambda attempt: busy(attempt.host) if next(answers) < 2 else "ok")
    writer = make_writer(cassandra, window_bytes=40_000_000)
    assert writer.write(a_write()) == Outcome(replicas=2, retries=2)
    assert writer.window.room_bytes == 10_000_000
    assert writer.stats.degraded == 0


def test_a_window_never_shrinks_below_one_chunk(make_writer: Make) -> None:
    answers = iter(range(1000))
    cassandra = cluster(lambda _: OverloadedErrorMessage(0x1001, "", None) if next(answers) < 6 else "ok")
    writer = make_writer(cassandra, window_bytes=20_000_000)
    writer.write(a_write())
    assert writer.window.room_bytes == 5_000_000


def test_a_write_that_keeps_timing_out_at_two_continues_with_one_replica(make_writer: Make) -> None:
    """A replica that answers probes but writes nothing (a stuck disk) must not hold up a load for ever."""
    cassandra = cluster(lambda attempt: WRITE_TIMEOUT if attempt.level == TWO and not attempt.is_probe else "ok")
    assert make_writer(cassandra).write(a_write()) == Outcome(replicas=1, retries=3)


def test_after_a_write_failure_the_coordinator_writes_alone_and_no_node_is_suspected(make_writer: Make) -> None:
    failure = WriteFailure("one failure", consistency=TWO, required_responses=2, received_responses=1, failures=1)
    cassandra = cluster(lambda attempt: failure if attempt.level == TWO else "ok")
    writer = make_writer(cassandra)
    assert writer.write(a_write()).replicas == 1
    assert not [attempt for attempt in cassandra.attempts if attempt.is_probe]
    assert [level for _, level in levels(cassandra)] == [TWO, LOCAL_ONE]


def test_a_write_that_fails_at_local_one_is_tried_at_the_other_node(make_writer: Make) -> None:
    """The full disk is the coordinator's own."""
    failure = WriteFailure("one failure", consistency=TWO, required_responses=2, received_responses=1, failures=1)
    cassandra = cluster(lambda attempt: failure if attempt.level == TWO or attempt.host.address == "10.0.0.1" else "ok")
    writer = make_writer(cassandra)
    assert [writer.write(a_write()).replicas for _ in range(3)] == [1, 1, 1]


def test_a_write_that_no_node_accepts_fails_at_once_and_is_not_sent_again(make_writer: Make) -> None:
    cassandra = cluster(lambda _: InvalidRequest("the mutation is too large"))
    writer = make_writer(cassandra)
    with pytest.raises(StoreError, match=r"chunk 1: refused by 10\.0\.0\.\d: .*too large") as caught:
        writer.write(a_write())
    assert not caught.value.retriable
    assert len(cassandra.writes()) == 1
    assert writer.window.in_flight_bytes == 0


def test_both_nodes_down_is_one_retriable_error_within_the_deadline(make_writer: Make) -> None:
    cassandra = cluster(lambda attempt: no_host(attempt.host, reset()))
    writer = make_writer(cassandra)
    futures = [writer.submit(a_write(description=f"chunk {n}")) for n in range(3)]
    for n, future in enumerate(futures):
        with pytest.raises(StoreUnavailableError, match=rf"chunk {n}: no response from 10\.0\.0\.1, 10\.0\.0\.2"):
            future.result(DEADLINE_S)
    assert writer.window.in_flight_bytes == 0


def test_both_nodes_frozen_is_the_same_error(make_writer: Make) -> None:
    """The driver gives up an attempt after its timeout; no node responds until then."""

    def behave(attempt: Attempt) -> Any:
        if not attempt.is_probe:
            timer = threading.Timer(0.5, attempt.answer, [OperationTimedOut({}, attempt.host)])
            timer.daemon = True
            timer.start()
        return "silent"

    writer = make_writer(cluster(behave))
    with pytest.raises(StoreUnavailableError, match="OperationTimedOut"):
        writer.write(a_write())


def test_both_nodes_down_and_back_within_the_deadline_fail_no_write(make_writer: Make) -> None:
    refusals = iter(range(1000))
    cassandra = cluster(
        lambda attempt: no_host(attempt.host, reset()) if next(refusals) < 10 else "ok", request_timeout_s=30.0
    )
    assert make_writer(cassandra).write(a_write()).replicas in (1, 2)


def test_a_late_response_changes_nothing(make_writer: Make) -> None:
    pending: list[Attempt] = []

    def behave(attempt: Attempt) -> Any:
        if attempt.level == TWO and not attempt.is_probe:
            pending.append(attempt)
            return "silent"
        return "ok" if attempt.host is pending[0].host or not attempt.is_probe else "silent"

    cassandra = cluster(behave)
    writer = make_writer(cassandra)
    future = writer.submit(a_write(size_bytes=7000))
    assert future.result(DEADLINE_S).replicas == 1
    for attempt in pending:
        attempt.answer("ok")
        attempt.answer(reset())
    assert writer.window.in_flight_bytes == 0
    assert writer.stats.acknowledged == 1
    cassandra.behave = lambda _: "ok"
    assert writer.write(a_write()).replicas in (1, 2)


def test_closing_gives_up_pending_writes_and_never_hangs(make_writer: Make) -> None:
    cassandra = cluster(lambda _: "silent", unresponsive_after_s=60.0, request_timeout_s=60.0)
    writer = make_writer(cassandra)
    futures = [writer.submit(a_write(description=f"chunk {n}")) for n in range(5)]
    writer.close()
    writer.close()
    for future in futures:
        with pytest.raises(StoreError, match="the writer was closed before it was done"):
            future.result(DEADLINE_S)
    assert writer.window.in_flight_bytes == 0
    assert not cassandra.monitor.subscribers


def test_a_write_after_the_close_is_refused_instead_of_waiting_for_ever(make_writer: Make) -> None:
    writer = make_writer(cluster(lambda _: "ok"))
    writer.close()
    with pytest.raises(StoreError, match="closed"):
        writer.write(a_write())
    assert writer.window.in_flight_bytes == 0


def test_an_error_inside_the_writer_fails_its_pending_and_later_writes(make_writer: Make) -> None:
    def broken(_level: int) -> Any:
        raise RuntimeError("boom")

    cassandra = cluster(lambda _: "silent", unresponsive_after_s=60.0, request_timeout_s=60.0)
    writer = make_writer(cassandra)
    waiting = writer.submit(a_write())
    with pytest.raises(StoreError, match="RuntimeError: boom"):
        writer.submit(Write(broken, 10, "chunk 2")).result(DEADLINE_S)
    with pytest.raises(StoreError, match="boom"):
        waiting.result(DEADLINE_S)
    with pytest.raises(StoreError, match="has already failed"):
        writer.submit(a_write()).result(DEADLINE_S)
    assert writer.window.in_flight_bytes == 0


def test_bytes_in_flight_never_exceed_the_window(make_writer: Make) -> None:
    most = 0

    def behave(attempt: Attempt) -> Any:
        nonlocal most
        if attempt.is_probe:
            return "ok"
        most = max(most, writer.window.in_flight_bytes)
        timer = threading.Timer(0.002, attempt.answer, ["ok"])
        timer.daemon = True
        timer.start()
        return "silent"

    cassandra = cluster(behave, unresponsive_after_s=60.0, request_timeout_s=60.0)
    writer = make_writer(cassandra, window_bytes=20_000_000)
    futures: list[Future[Outcome]] = [writer.submit(a_write(size_bytes=4_900_000)) for _ in range(60)]
    assert all(f.result(DEADLINE_S).replicas == 2 for f in futures)
    assert 0 < most <= 20_000_000
    assert writer.window.in_flight_bytes == 0


def test_an_acknowledged_write_is_released_at_once(make_writer: Make) -> None:
    """Timers outlive a write by seconds; with 5 MB each they would exceed the window."""

    class Payload:
        pass

    cassandra = cluster(lambda _: "ok", unresponsive_after_s=60.0, request_timeout_s=60.0)
    writer = make_writer(cassandra)

    def one() -> weakref.ref[Payload]:
        payload = Payload()

        def make(level: int, payload: Payload = payload) -> Statement:
            return Statement(consistency_level=level)

        writer.write(Write(make, 10, "chunk"))
        return weakref.ref(payload)

    alive = one()
    cassandra.attempts.clear()
    writer.write(a_write())  # the dispatcher has dropped the first one by now
    gc.collect()
    assert alive() is None


def test_a_node_whose_disk_hangs_delays_only_the_first_writes(
    make_writer: Make,
) -> None:
    """It answers every probe, so each write would wait for three server timeouts."""
    cassandra = cluster(lambda attempt: WRITE_TIMEOUT if attempt.level == TWO and not attempt.is_probe else "ok")
    writer = make_writer(cassandra, cool_down_s=60.0)
    assert [writer.write(a_write()).replicas for _ in range(10)] == [1] * 10
    assert [level for _, level in levels(cassandra)].count(TWO) == 3
    assert writer.stats.degraded == 10


def test_writing_returns_to_two_when_the_disk_writes_again(make_writer: Make) -> None:
    stuck = True
    cassandra = cluster(lambda attempt: WRITE_TIMEOUT if stuck and attempt.level == TWO else "ok")
    writer = make_writer(cassandra, cool_down_s=0.05)
    assert writer.write(a_write()).replicas == 1
    stuck = False
    until(lambda: writer.write(a_write()).replicas == 2, "a write at TWO", DEADLINE_S)
    assert writer.write(a_write()).replicas == 2


def test_while_the_disk_hangs_one_write_at_a_time_retries_at_two(make_writer: Make) -> None:
    cassandra = cluster(lambda attempt: WRITE_TIMEOUT if attempt.level == TWO and not attempt.is_probe else "ok")
    writer = make_writer(cassandra, cool_down_s=0.05)
    writer.write(a_write())
    # One timeout and not three: the next writes use one replica at once. The cool-down may end between two writes.
    one_timeout = (Outcome(replicas=1, retries=1), Outcome(replicas=1, retries=0))
    until(lambda: (writer.write(a_write()), writer.write(a_write())) == one_timeout, "one timeout", DEADLINE_S)
