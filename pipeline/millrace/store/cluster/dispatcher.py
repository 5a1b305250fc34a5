"""The dispatcher of a writer: one thread that owns the state of all writes in flight.

A write uses ``TWO`` while both replicas respond, and ``LOCAL_ONE`` when one does not. The driver's event thread only
posts events to the dispatcher's loop, so no callback ever waits, encodes or takes a lock.
"""

from __future__ import annotations

import itertools
import random
import time
from concurrent.futures import Future
from typing import Any

from cassandra import CoordinationFailure, OperationTimedOut, Unavailable, WriteTimeout
from cassandra.connection import ConnectionBusy
from cassandra.pool import Host, NoConnectionsAvailable
from cassandra.protocol import OverloadedErrorMessage

from millrace.errors import MillraceError, StoreError, StoreUnavailableError
from millrace.store.cluster.cool_down import CoolDown
from millrace.store.cluster.driver import LOCAL_ONE, TWO
from millrace.store.cluster.driver_errors import REFUSED, node_error
from millrace.store.cluster.event_loop import EventLoop
from millrace.store.cluster.flights import Flight, Outcome, Write, WriterStats
from millrace.store.cluster.session import CassandraSession
from millrace.store.cluster.suspected_nodes import SuspectedNodes
from millrace.store.cluster.window import ByteWindow

HARD_LIMIT_FACTOR = 10
"""A write fails after this many times ``request_timeout_s``, even if nodes respond to other writes."""
_CLOSE_S = 5.0
_FULL_CONNECTION = (ConnectionBusy, NoConnectionsAvailable)
_BACK_PRESSURE = (*_FULL_CONNECTION, OverloadedErrorMessage, WriteTimeout, Unavailable)


class Dispatcher:
    """The writes in flight. Each ``begin`` ends with a result or an error of its future and a release of the window.

    Only the loop's thread calls the private methods.
    """

    def __init__(self, cassandra: CassandraSession, window: ByteWindow, *, cool_down_s: float) -> None:
        self._cassandra = cassandra
        self._settings = cassandra.settings
        self._window = window
        self.stats = WriterStats()
        self.replica_loss_times: list[float] = []
        self._flights: dict[int, Flight] = {}
        self._cool_down = CoolDown(cool_down_s=cool_down_s, retry_s=self._settings.request_timeout_s)
        self._coordinator_turn = itertools.count()
        self._serial = itertools.count()
        self._last_response = time.monotonic()
        self._broken: Exception | None = None
        _ = cassandra.probes  # connect here, where waiting delays no write
        self.loop = EventLoop("millrace-writer", on_error=self._break, on_close=self._abandon_all)
        self.suspected = SuspectedNodes(cassandra.monitor, self.loop, self._resend)
        cassandra.monitor.subscribers.append(self._post_lost)

    def begin(self, write: Write, future: Future[Outcome]) -> None:
        """Send the write. Its bytes must have been acquired from the window."""
        self.loop.post(self._begin, write, future)

    def close(self) -> None:
        """Fail the writes in flight and stop the thread."""
        self.loop.close(_CLOSE_S)
        self._cassandra.monitor.subscribers.remove(self._post_lost)

    def _post_lost(self, host: Host) -> None:
        self.loop.post(self.suspected.suspect, host)

    def _break(self, error: Exception) -> None:
        """Fail all writes, because an error in this thread may have lost one of them."""
        self._broken = error
        self._fail_all(f"the writer failed ({type(error).__name__}: {error})")

    def _abandon_all(self) -> None:
        self._fail_all("the writer was closed before it was done")

    def _fail_all(self, reason: str) -> None:
        for flight in list(self._flights.values()):
            self._fail(flight, StoreError(f"{flight.write.description}: {reason}"))

    def _begin(self, write: Write, future: Future[Outcome]) -> None:
        flight = Flight(next(self._serial), write, future)
        self._flights[flight.number] = flight
        if self._broken is not None:
            self._fail(flight, StoreError(f"{write.description}: the writer has already failed ({self._broken})"))
            return
        flight.replicas = self._cassandra.replicas(write.make(TWO))
        self._route(flight.number)

    def _route(self, flight_number: int) -> None:
        """Choose a coordinator and a consistency level, and send the write."""
        flight = self._flights.get(flight_number)
        if flight is None or flight.requests:
            return
        live = self.suspected.live(flight.replicas)
        if len(live) >= 2:
            level = LOCAL_ONE if self._cool_down.use_one_replica(flight) else TWO
            self._send(flight, self._next_of(live), level)
        else:
            self._send(flight, live[0] if live else self._next_of(flight.replicas), LOCAL_ONE)

    def _next_of(self, hosts: list[Host]) -> Host:
        return hosts[next(self._coordinator_turn) % len(hosts)]

    def _send(self, flight: Flight, host: Host, level: int) -> None:
        request_number = next(self._serial)
        flight.requests[request_number] = (host, level)
        # Callbacks and timers refer to a write by its number: they outlive the write and must not keep its bytes.
        numbers = (flight.number, request_number)
        try:
            response = self._cassandra.session.execute_async(
                flight.write.make(level), host=host, timeout=self._settings.request_timeout_s
            )
        except Exception as error:  # noqa: BLE001 any error of the driver is the result of this request
            self.loop.post(self._handle_error, *numbers, error)
            return
        response.add_callbacks(
            lambda _rows: self.loop.post(self._acknowledge, *numbers),
            lambda error: self.loop.post(self._handle_error, *numbers, error),
        )
        self.loop.call_later(self._settings.unresponsive_after_s, self._check_overdue, *numbers)

    def _acknowledge(self, flight_number: int, request_number: int) -> None:
        self._last_response = time.monotonic()
        if (ended := self._end_request(flight_number, request_number)) is None:
            return
        flight, _, level = ended
        del self._flights[flight_number]
        self._window.release(flight.write.size_bytes)
        replicas = 2 if level == TWO else 1
        if replicas == 2:
            self._cool_down.end(flight)
        self.stats.acknowledged += 1
        self.stats.degraded += replicas == 1
        flight.future.set_result(Outcome(replicas, flight.retries, time.monotonic()))

    def _end_request(self, flight_number: int, request_number: int) -> tuple[Flight, Host, int] | None:
        """Remove a request from its write and return both; None for a late response, which changes nothing."""
        flight = self._flights.get(flight_number)
        request = flight.requests.pop(request_number, None) if flight is not None else None
        return (flight, *request) if flight is not None and request is not None else None

    def _check_overdue(self, flight_number: int, request_number: int) -> None:
        """Probe the replicas of a write that has no acknowledgement yet.

        If both replicas answer the probe, the write is only slow.
        """
        flight = self._flights.get(flight_number)
        if flight is not None and request_number in flight.requests:
            self.suspected.check(flight.replicas)
            self.loop.call_later(
                self._settings.unresponsive_after_s, self._check_overdue, flight_number, request_number
            )

    def _resend(self, lost: Host) -> None:
        """Resend the writes that wait for a lost replica to the other replicas at ``LOCAL_ONE``.

        They do not wait for their timeouts.
        """
        self.replica_loss_times.append(time.monotonic())
        for flight in list(self._flights.values()):
            others = [other for other in self.suspected.live(flight.replicas) if other != lost]
            waits = flight.requests and not flight.waits_for_one_other_than(lost)
            if lost in flight.replicas and others and waits:
                self._count_retry(flight)
                self._send(flight, self._next_of(others), LOCAL_ONE)

    def _handle_error(self, flight_number: int, request_number: int, error: Any) -> None:
        if (ended := self._end_request(flight_number, request_number)) is None:
            return
        flight, host, level = ended
        flight.last_error = cause = node_error(error)
        if isinstance(cause, REFUSED):
            self._fail(flight, StoreError(f"{flight.write.description}: refused by {host.address}: {cause}"))
            return
        self._count_retry(flight)
        if level == TWO and self._continues_with_one(flight, host, cause):
            return
        if isinstance(cause, _BACK_PRESSURE):
            self._throttle(flight, cause)
        elif not isinstance(cause, (OperationTimedOut, CoordinationFailure)):
            self.suspected.suspect(host)
        if not flight.requests:
            self._retry_or_fail(flight)

    def _continues_with_one(self, flight: Flight, host: Host, cause: Any) -> bool:
        """Write at ``LOCAL_ONE`` at once when the coordinator reports the other replica as gone or failed.

        Return whether the error was handled here. Timeouts are counted here.
        """
        if isinstance(cause, WriteTimeout):
            self._cool_down.count_timeout(flight)
        if not isinstance(cause, (Unavailable, CoordinationFailure)):
            return False
        self._last_response = time.monotonic()
        if isinstance(cause, Unavailable):
            for other in flight.replicas:
                if other != host:
                    self.suspected.suspect(other)
        else:
            # The error does not name the failed replica (a full disk, a damaged file), and both replicas answer probes.
            self._cool_down.give_up_two(flight)
        if not flight.requests:
            self._send(flight, host, LOCAL_ONE)
        return True

    def _throttle(self, flight: Flight, cause: Any) -> None:
        if not isinstance(cause, _FULL_CONNECTION):
            self._last_response = time.monotonic()
        if not self._cool_down.has(flight):  # a smaller window does not unblock a hung disk
            self._window.throttle()

    def _retry_or_fail(self, flight: Flight) -> None:
        if self._is_past_deadline(flight):
            self._fail(flight, _unavailable(flight))
        else:
            pause_s = min(1.0, 0.01 * 2 ** min(flight.retries, 7)) * random.uniform(0.5, 1.0)  # noqa: S311
            self.loop.call_later(pause_s, self._route, flight.number)

    def _is_past_deadline(self, flight: Flight) -> bool:
        now = time.monotonic()
        limit_s = self._settings.request_timeout_s
        without_response_s = now - max(self._last_response, flight.started)
        return without_response_s > limit_s or now - flight.started > limit_s * HARD_LIMIT_FACTOR

    def _count_retry(self, flight: Flight) -> None:
        flight.retries += 1
        self.stats.retries += 1

    def _fail(self, flight: Flight, error: MillraceError) -> None:
        if self._flights.pop(flight.number, None) is None:
            return
        self._window.release(flight.write.size_bytes)
        flight.future.set_exception(error)


def _unavailable(flight: Flight) -> StoreUnavailableError:
    return StoreUnavailableError(
        f"{flight.write.description}: no response from {flight.addresses} "
        f"({type(flight.last_error).__name__}: {flight.last_error})",
        hint="see millrace doctor; the same load can be run again",
        node=flight.addresses,
    )
