"""Identify task attempts and runs, and derive the Kafka partition of a run.

``partition_of`` alone decides the partition of an event.
"""

from __future__ import annotations

import time
import zlib
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

EPOCH_2020_S: Final = 1_577_836_800
"""The Unix time of 2020-01-01T00:00:00Z."""
_ORIGINS: Final = ("airflow", "cli", "python")
# Characters that RFC 3986 allows in a path segment stay readable (run ids contain ":" and "+"). "/" and "%" are
# percent-encoded.
_SEGMENT_SAFE: Final = ":+~@!$&'()*,;="


@dataclass(frozen=True, slots=True)
class TaskIdentity:
    """The identity of the task attempt that an event is about. ``dag_id`` and ``run_id`` together identify a run.

    ``map_index`` is -1 for a task that is not mapped. ``attempt`` counts from 1. ``origin`` (``airflow``, ``cli`` or
    ``python``) is the first part of the event's ``source``; if empty, it is derived from ``dag_id``. An identity
    identifies one execution, because its sequence starts at 1. A second execution needs another attempt or run id.
    Raises ``ValueError`` for an identity that no event can carry.
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1
    attempt: int = 1
    origin: str = ""

    def __post_init__(self) -> None:
        if not self.origin:
            object.__setattr__(self, "origin", self.dag_id if self.dag_id in ("cli", "python") else "airflow")
        if self.origin not in _ORIGINS:
            raise ValueError(f"origin is {self.origin!r}; it must be one of {', '.join(_ORIGINS)}")
        for name in ("dag_id", "run_id", "task_id"):
            if not getattr(self, name):
                raise ValueError(f"{name} is empty; it needs at least one character")
        if self.map_index < -1 or self.attempt < 0:
            raise ValueError(
                f"map_index is {self.map_index} and attempt is {self.attempt}; they must be at least -1 and 0"
            )

    @property
    def subject(self) -> str:
        """Return ``<dag_id>/<run_id>/<task_id>/<map_index>``, each part percent-encoded where necessary."""
        parts = (self.dag_id, self.run_id, self.task_id, str(self.map_index))
        return "/".join(quote(part, safe=_SEGMENT_SAFE) for part in parts)

    @property
    def source(self) -> str:
        """Return ``/<origin>/<subject>/<attempt>``, the record key in Kafka."""
        return f"/{self.origin}/{self.subject}/{self.attempt}"


@dataclass(frozen=True, slots=True)
class TaskPosition:
    """The position of a task in its DAG: ``step`` is its index in execution order; a ``leaf`` has no task after it."""

    step: int
    leaf: bool


def attempt_now() -> int:
    """Return an attempt number for a run that may have had attempts before: the seconds since 2020.

    The number increases with time. Airflow counts attempts, but resuming a run by its id has no such counter.
    ``is_counted`` distinguishes such numbers from counted ones, which are meaningful to users.
    """
    return int(time.time() - EPOCH_2020_S)


def is_counted(attempt: int) -> bool:
    """Return whether ``attempt`` is a counted number, not one from ``attempt_now``."""
    return attempt < 1_000_000


def partition_of(dag_id: str, run_id: str, partitions: int) -> int:
    """Return the partition of all events of a run: CRC-32 (IEEE, as zlib) of ``<dag_id>/<run_id>`` in UTF-8, modulo.

    The result is the same on every machine, with every Python version and at any time. The order of events within a
    run depends on that.
    """
    return zlib.crc32(f"{dag_id}/{run_id}".encode("utf-8", "surrogatepass")) % partitions
