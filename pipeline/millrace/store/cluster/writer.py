"""Replicated writes that continue without one replica, and the dispatcher that sends them.

A write uses ``TWO`` while both replicas respond. It uses ``LOCAL_ONE`` when one does not, and its outcome reports one
replica, so that the caller can record the data as under-replicated.

Every write is idempotent and its bytes never change. It may therefore be sent twice, to either replica, in any order.
One thread, the dispatcher, owns the state of all writes. The driver's event thread only puts events into the
dispatcher's queue, so no callback ever waits, encodes or takes a lock.
"""

from __future__ import annotations

import heapq
import itertools
import queue
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from cassandra import CoordinationFailure, OperationTimedOut, Unavailable, WriteTimeout
from cassandra.cluster import NoHostAvailable
from cassandra.connection import ConnectionBusy
from cassandra.policies import HostStateListener
from cassandra.pool import Host, NoConnectionsAvailable
from cassandra.protocol import OverloadedErrorMessage
from cassandra.query import Statement

from millrace.errors import MillraceError, StoreError, StoreTimeoutError, StoreUnavailableError
from millrace.store.cluster.health import Health
from millrace.store.cluster.session import LOCAL_ONE, REFUSED, TWO, CassandraSession
from millrace.store.cluster.window import ByteWindow

__all__ = ["Outcome", "ReplicatedWriter", "Write", "WriterStats"]

_FLOOR_BYTES = 5_000_000
_HARD_LIMIT_FACTOR = 10
_TIMEOUTS_AT_TWO = 3
"""Timeouts at ``TWO`` after which a write continues with one replica, although both replicas look alive."""
_REST_S = 10.0
"""Cool-down in seconds during which all writes to this replica pair use one replica. A node with a hung disk still
answers probes, so each write would otherwise wait for three server timeouts. After the cool-down one write retries at
``TWO``."""
_BUSY = (ConnectionBusy, NoConnectionsAvailable, OverloadedErrorMessage, WriteTimeout)


@dataclass(frozen=True, slots=True)
class Write:
    """An idempotent write: its statement as a function of the consistency level, its size, and its name in messages."""

    make: Callable[[int], Statement]
    size_bytes: int
    what: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """The proven result of a write: ``replicas`` is 2 when ``TWO`` was acknowledged, else 1."""

    replicas: int
    retries: int
    at: float = field(default=0.0, compare=False)
    """Time of the acknowledgement by the monotonic clock, in seconds."""


@dataclass(slots=True)
class WriterStats:
    """Counts of the writes so far. Only the dispatcher writes them; any thread may read them."""

    acknowledged: int = 0
    degraded: int = 0
    retries: int = 0
    pushed_back: int = 0


@dataclass(slots=True, eq=False)
class _Flight:
    number: int
    write: Write
    future: Future[Outcome]
    replicas: list[Host]
    started: float
    open: dict[int, tuple[Host, int]] = field(default_factory=dict)
    retries: int = 0
    failed_at_two: int = 0
    last_error: Any = None


class _Listener(HostStateListener):  # type: ignore[misc]
    """Listener that reports a node as lost when the driver marks it down or removes it.

    A coordinator may still be waiting for that node on behalf of an open write.
    """

    def __init__(self, lost: Callable[[Host], None]) -> None:
        self._lost = lost

    def on_down(self, host: Host) -> None:
        self._lost(host)

    def on_remove(self, host: Host) -> None:
        self._lost(host)

    def on_up(self, host: Host) -> None:
        """Do nothing: a probe decides whether the node responds."""

    def on_add(self, host: Host) -> None:
        """Do nothing: the first statement sent to the node shows whether it responds."""


class ReplicatedWriter:
    """Writer of idempotent statements: ``submit`` returns a future of the ``Outcome``.

    Memory is bounded by ``window_bytes`` of stored bytes.

    A write fails with ``StoreUnavailableError`` when no node has responded for ``request_timeout_s``, or ten times
    ``request_timeout_s`` after it began. It fails with ``StoreError`` at once when the server rejects it for good.
    Back-pressure only slows writes down.
    """

    def __init__(
        self, cassandra: CassandraSession, *, window_bytes: int, chunks_in_flight: int = 0, bytes_per_s: int = 0
    ) -> None:
        self._cassandra = cassandra
        self._settings = cassandra.settings
        self.window = ByteWindow(
            window_bytes, floor_bytes=_FLOOR_BYTES, limit_takers=chunks_in_flight, bytes_per_s=bytes_per_s
        )
        self.stats = WriterStats()
        self.losses: list[float] = []
        """Times at which a replica was lost, by the monotonic clock. That replica may lack the writes that it
        acknowledged just before."""
        self._queue: queue.SimpleQueue[tuple[Callable[..., None], tuple[Any, ...]] | None] = queue.SimpleQueue()
        self._timers: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._flights: dict[int, _Flight] = {}
        self._resting: dict[tuple[Any, ...], float] = {}
        """End of the cool-down for each replica pair: until then nothing is sent to it at ``TWO``, although both
        replicas answer probes."""
        self._turn = itertools.count()
        self._serial = itertools.count()
        self._last_heard = time.monotonic()
        self._broken: Exception | None = None
        self._closed = False
        self._closing = threading.Lock()
        _ = cassandra.probes  # connect here, where waiting delays no write
        self._health = Health(cassandra, post=self._post, later=self._later, on_suspect=self._host_lost)
        self._listener = _Listener(lambda host: self._post(self._health.suspect, host))
        cassandra.cluster.register_listener(self._listener)
        self._thread = threading.Thread(target=self._run, name="millrace-writer", daemon=True)
        self._thread.start()

    def is_short_of(self, replicas: list[Host]) -> bool:
        """Return whether a replica is down or suspected, so the next write reaches fewer than all of them."""
        return len(self._health.live(replicas)) < len(replicas)

    def submit(self, write: Write) -> Future[Outcome]:
        """Wait for room in the window, then send the write. The future always completes.

        Raises ``StoreTimeoutError`` when there is no room for ten times ``request_timeout_s``. Raises ``StoreError``
        once the writer is closed.
        """
        self.window.take(write.size_bytes, timeout_s=self._settings.request_timeout_s * _HARD_LIMIT_FACTOR)
        future: Future[Outcome] = Future()
        with self._closing:
            if self._closed:
                self.window.release(write.size_bytes)
                raise StoreError(f"{write.what}: the writer was closed before it was begun")
            self._post(self._begin, write, future)
        return future

    def write(self, write: Write) -> Outcome:
        """Submit a write and return its outcome.

        Raises the error of the write, or ``StoreTimeoutError`` when it does not complete within eleven times
        ``request_timeout_s``.
        """
        try:
            return self.submit(write).result(self._settings.request_timeout_s * (_HARD_LIMIT_FACTOR + 1))
        except TimeoutError:
            raise StoreTimeoutError(f"{write.what}: no response within the deadline", hint="see ./run status") from None

    def close(self) -> None:
        """Fail the open writes and stop the dispatcher. Closing twice does nothing."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
            self._queue.put(None)
        self._thread.join(timeout=5)
        self._cassandra.cluster.unregister_listener(self._listener)

    def __enter__(self) -> ReplicatedWriter:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    # --- everything below runs in the dispatcher's thread, except _post

    def _post(self, call: Callable[..., None], *args: Any) -> None:
        self._queue.put((call, args))

    def _later(self, delay_s: float, call: Callable[..., None], *args: Any) -> None:
        heapq.heappush(self._timers, (time.monotonic() + delay_s, next(self._serial), call, args))

    def _run(self) -> None:
        while True:
            # Run timers first: under a steady stream of events they would otherwise never run.
            while self._timers and self._timers[0][0] <= time.monotonic():
                _, _, call, args = heapq.heappop(self._timers)
                self._do(call, args)
            wait_s = max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else 3600.0
            try:
                event = self._queue.get(timeout=wait_s)
            except queue.Empty:
                continue
            if event is None:
                self._fail_all("the writer was closed before it was done")
                return
            self._do(*event)

    def _do(self, call: Callable[..., None], args: tuple[Any, ...]) -> None:
        try:
            call(*args)
        except Exception as error:  # noqa: BLE001 without the dispatcher no open write would ever complete
            self._broken = error
            self._fail_all(f"the writer failed ({type(error).__name__}: {error})")

    def _fail_all(self, why: str) -> None:
        for flight in list(self._flights.values()):
            self._fail(flight, StoreError(f"{flight.write.what}: {why}"))

    def _begin(self, write: Write, future: Future[Outcome]) -> None:
        flight = _Flight(next(self._serial), write, future, [], time.monotonic())
        self._flights[flight.number] = flight
        if self._broken is not None:
            self._fail(flight, StoreError(f"{write.what}: the writer failed before ({self._broken})"))
            return
        flight.replicas = self._cassandra.replicas(write.make(TWO))
        self._route(flight.number)

    def _route(self, flight_number: int) -> None:
        flight = self._flights.get(flight_number)
        if flight is None or flight.open:
            return
        live = self._health.live(flight.replicas)
        if len(live) >= 2 and (flight.failed_at_two >= _TIMEOUTS_AT_TWO or self._rests(flight)):
            self._send(flight, live[next(self._turn) % len(live)], LOCAL_ONE)
        elif len(live) >= 2:
            self._send(flight, live[next(self._turn) % len(live)], TWO)
        elif live:
            self._send(flight, live[0], LOCAL_ONE)
        else:
            self._send(flight, flight.replicas[next(self._turn) % len(flight.replicas)], LOCAL_ONE)

    def _rests(self, flight: _Flight) -> bool:
        """Return whether the cool-down of these replicas is running, so that ``TWO`` is not used.

        The first write after a cool-down retries at ``TWO``. One more timeout of that write starts the next cool-down.
        """
        until = self._resting.get(_place(flight))
        if until is None:
            return False
        now = time.monotonic()
        if now >= until:
            self._resting[_place(flight)] = now + self._settings.request_timeout_s + _REST_S
            flight.failed_at_two = _TIMEOUTS_AT_TWO - 1
        return now < until

    def _send(self, flight: _Flight, host: Host, level: int) -> None:
        number = next(self._serial)
        flight.open[number] = (host, level)
        try:
            sent = self._cassandra.session.execute_async(
                flight.write.make(level), host=host, timeout=self._settings.request_timeout_s
            )
        except Exception as error:  # noqa: BLE001 any error of the driver is the result of this attempt
            self._post(self._refused, flight.number, number, error)
            return
        # Callbacks and timers refer to a write by its number: they outlive the write and must not keep its bytes.
        flight_number = flight.number
        sent.add_callbacks(
            lambda _rows: self._post(self._acknowledged, flight_number, number),
            lambda error: self._post(self._refused, flight_number, number, error),
        )
        self._later(self._settings.unresponsive_after_s, self._silent, flight_number, number)

    def _acknowledged(self, flight_number: int, number: int) -> None:
        self._last_heard = time.monotonic()
        flight = self._flights.get(flight_number)
        attempt = flight.open.pop(number, None) if flight is not None else None
        if flight is None or attempt is None:
            return
        del self._flights[flight_number]
        self.window.release(flight.write.size_bytes)
        replicas = 2 if attempt[1] == TWO else 1
        if replicas == 2:
            self._resting.pop(_place(flight), None)
        self.stats.acknowledged += 1
        self.stats.degraded += replicas == 1
        flight.future.set_result(Outcome(replicas, flight.retries, time.monotonic()))

    def _silent(self, flight_number: int, number: int) -> None:
        """Probe the replicas of a write that has no acknowledgement yet.

        If both replicas answer the probe, the write is only slow.
        """
        flight = self._flights.get(flight_number)
        if flight is not None and number in flight.open:
            self._health.silence(flight.replicas)
            self._later(self._settings.unresponsive_after_s, self._silent, flight_number, number)

    def _host_lost(self, host: Host) -> None:
        """Resend the writes that wait for a lost replica to the other replicas at ``LOCAL_ONE``.

        They do not wait for their timeouts.
        """
        self.losses.append(time.monotonic())
        for flight in list(self._flights.values()):
            others = [other for other in self._health.live(flight.replicas) if other != host]
            waiting_on_one = any(level == LOCAL_ONE and where != host for where, level in flight.open.values())
            if host in flight.replicas and others and flight.open and not waiting_on_one:
                self._count_retry(flight)
                self._send(flight, others[next(self._turn) % len(others)], LOCAL_ONE)

    def _refused(self, flight_number: int, number: int, error: Any) -> None:
        flight = self._flights.get(flight_number)
        attempt = flight.open.pop(number, None) if flight is not None else None
        if flight is None or attempt is None:
            return
        host, level = attempt
        cause = _cause(error)
        flight.last_error = cause
        if isinstance(cause, REFUSED):
            self._fail(flight, StoreError(f"{flight.write.what}: refused by {host.address}: {cause}"))
            return
        self._count_retry(flight)
        if self._goes_on_with_one(flight, host, level, cause):
            return
        if isinstance(cause, (*_BUSY, Unavailable)):
            if not isinstance(cause, (ConnectionBusy, NoConnectionsAvailable)):
                self._last_heard = time.monotonic()
            self.stats.pushed_back += 1
            if _place(flight) not in self._resting:  # a smaller window does not unblock a hung disk
                self.window.throttle()
        elif not isinstance(cause, (OperationTimedOut, CoordinationFailure)):
            self._health.suspect(host)
        if flight.open:
            return
        if self._given_up(flight):
            self._fail(flight, _unavailable(flight))
        else:
            pause_s = min(1.0, 0.01 * 2 ** min(flight.retries, 7)) * random.uniform(0.5, 1.0)  # noqa: S311
            self._later(pause_s, self._route, flight.number)

    def _goes_on_with_one(self, flight: _Flight, host: Host, level: int, cause: Any) -> bool:
        """Write at ``LOCAL_ONE`` at once when the coordinator reports the other replica as gone or failed.

        Return whether the error was handled here. Timeouts at ``TWO`` are counted here, and enough of them start the
        cool-down.
        """
        if level != TWO:
            return False
        if isinstance(cause, WriteTimeout):
            flight.failed_at_two += 1
            if flight.failed_at_two >= _TIMEOUTS_AT_TWO:
                self._resting[_place(flight)] = time.monotonic() + _REST_S
        if not isinstance(cause, (Unavailable, CoordinationFailure)):
            return False
        self._last_heard = time.monotonic()
        if isinstance(cause, Unavailable):
            for other in flight.replicas:
                if other != host:
                    self._health.suspect(other)
        else:
            # The error does not name the failed replica (a full disk, a damaged file), and both replicas answer probes.
            flight.failed_at_two = _TIMEOUTS_AT_TWO
        if not flight.open:
            self._send(flight, host, LOCAL_ONE)
        return True

    def _given_up(self, flight: _Flight) -> bool:
        now = time.monotonic()
        silent_s = now - max(self._last_heard, flight.started)
        limit_s = self._settings.request_timeout_s
        return silent_s > limit_s or now - flight.started > limit_s * _HARD_LIMIT_FACTOR

    def _count_retry(self, flight: _Flight) -> None:
        flight.retries += 1
        self.stats.retries += 1

    def _fail(self, flight: _Flight, error: MillraceError) -> None:
        if self._flights.pop(flight.number, None) is None:
            return
        self.window.release(flight.write.size_bytes)
        flight.future.set_exception(error)


def _place(flight: _Flight) -> tuple[Any, ...]:
    return tuple(host.endpoint for host in flight.replicas)


def _cause(error: Any) -> Any:
    """Return the error of the node itself: ``NoHostAvailable`` with one host wraps one cause."""
    if isinstance(error, NoHostAvailable) and isinstance(error.errors, dict) and error.errors:
        return next(iter(error.errors.values()))
    return error


def _unavailable(flight: _Flight) -> StoreUnavailableError:
    nodes = ", ".join(str(host.address) for host in flight.replicas)
    return StoreUnavailableError(
        f"{flight.write.what}: no answer from {nodes} ({type(flight.last_error).__name__}: {flight.last_error})",
        hint="see ./run status; the same load can be run again",
        node=nodes,
    )
