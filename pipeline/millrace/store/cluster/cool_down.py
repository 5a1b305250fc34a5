"""Replica sets whose writes use one replica for some time, because writes at ``TWO`` timed out."""

from __future__ import annotations

import time

from millrace.store.cluster.flights import Flight, ReplicaSet

_TIMEOUTS_AT_TWO = 3
"""Timeouts at ``TWO`` after which a write continues with one replica, although both replicas answer probes."""


class CoolDown:
    """The cool-downs of replica sets. While one runs, all writes to its replicas use one replica.

    A node with a hung disk still answers probes, so each write would otherwise wait for three server timeouts. After
    ``cool_down_s`` one write retries at ``TWO``, for at most ``retry_s``. All others continue with one replica.
    """

    def __init__(self, *, cool_down_s: float, retry_s: float) -> None:
        self._cool_down_s = cool_down_s
        self._retry_s = retry_s
        self._until: dict[ReplicaSet, float] = {}

    def use_one_replica(self, flight: Flight) -> bool:
        """Return whether ``TWO`` must not be used for the write, although both replicas are live."""
        return flight.timeouts_at_two >= _TIMEOUTS_AT_TWO or self._is_running(flight)

    def _is_running(self, flight: Flight) -> bool:
        """Return whether the cool-down of the replicas is running.

        The first write after a cool-down retries at ``TWO``. One timeout of that write starts the next cool-down.
        """
        until = self._until.get(flight.replica_set)
        if until is None:
            return False
        now = time.monotonic()
        if now >= until:
            self._until[flight.replica_set] = now + self._retry_s + self._cool_down_s
            flight.timeouts_at_two = _TIMEOUTS_AT_TWO - 1
        return now < until

    def count_timeout(self, flight: Flight) -> None:
        """Count a timeout at ``TWO``. Enough of them start the cool-down."""
        flight.timeouts_at_two += 1
        if flight.timeouts_at_two >= _TIMEOUTS_AT_TWO:
            self._until[flight.replica_set] = time.monotonic() + self._cool_down_s

    def give_up_two(self, flight: Flight) -> None:
        """Continue this write with one replica, without a cool-down for others."""
        flight.timeouts_at_two = _TIMEOUTS_AT_TWO

    def end(self, flight: Flight) -> None:
        """End the cool-down, because both replicas have acknowledged a write."""
        self._until.pop(flight.replica_set, None)

    def has(self, flight: Flight) -> bool:
        """Return whether ``TWO`` has not worked for these replicas since their last cool-down began."""
        return flight.replica_set in self._until
