"""A write, its state while it is in flight, its outcome, and the counts of a writer."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from cassandra.pool import Host
from cassandra.query import Statement

from millrace.store.cluster.driver import LOCAL_ONE

ReplicaSet = tuple[Any, ...]
"""The endpoints of the replicas of one partition."""


@dataclass(frozen=True, slots=True)
class Write:
    """An idempotent write: its statement as a function of the consistency level, its size, and its name in messages."""

    make: Callable[[int], Statement]
    size_bytes: int
    description: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """The proven result of a write: ``replicas`` is 2 when ``TWO`` was acknowledged, else 1."""

    replicas: int
    retries: int
    acknowledged_at: float = field(default=0.0, compare=False)
    """Time of the acknowledgement by the monotonic clock, in seconds."""


@dataclass(slots=True)
class WriterStats:
    """Counts of the writes so far. Only the dispatcher writes them; any thread may read them."""

    acknowledged: int = 0
    degraded: int = 0
    retries: int = 0


@dataclass(slots=True, eq=False)
class Flight:
    """A write that is not acknowledged yet.

    ``requests`` are the open requests by number, each with its coordinator and consistency level.
    """

    number: int
    write: Write
    future: Future[Outcome]
    replicas: list[Host] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)
    requests: dict[int, tuple[Host, int]] = field(default_factory=dict)
    retries: int = 0
    timeouts_at_two: int = 0
    last_error: Any = None

    @property
    def replica_set(self) -> ReplicaSet:
        """The endpoints of the replicas."""
        return tuple(host.endpoint for host in self.replicas)

    @property
    def addresses(self) -> str:
        """The addresses of the replicas, for messages."""
        return ", ".join(str(host.address) for host in self.replicas)

    def waits_for_one_other_than(self, lost: Host) -> bool:
        """Return whether a request at ``LOCAL_ONE`` is open at a node other than ``lost``."""
        return any(level == LOCAL_ONE and host != lost for host, level in self.requests.values())
