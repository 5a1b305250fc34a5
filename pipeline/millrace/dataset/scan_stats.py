"""Counts of the chunks that a read took from each tier."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from enum import StrEnum


class Tier(StrEnum):
    """A place that chunks are read from, the fastest first."""

    PROCESS = "process"
    REDIS = "redis"
    CASSANDRA = "cassandra"


@dataclass(slots=True)
class ScanStats:
    """Chunks by their tier, stored bytes that were moved, and values in Redis that did not match the manifest."""

    process: int = 0
    redis: int = 0
    cassandra: int = 0
    stored_bytes: int = 0
    rejected_by_checksum: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, tier: Tier, *, stored_bytes: int = 0) -> None:
        """Count one chunk."""
        with self._lock:
            self.stored_bytes += stored_bytes
            self.process += tier is Tier.PROCESS
            self.redis += tier is Tier.REDIS
            self.cassandra += tier is Tier.CASSANDRA

    def reject(self) -> None:
        """Count a cached chunk that does not match the manifest."""
        with self._lock:
            self.rejected_by_checksum += 1

    @property
    def tiers(self) -> dict[str, int]:
        """The chunks by the name of their tier."""
        return {"process": self.process, "redis": self.redis, "cassandra": self.cassandra}

    def to_json(self) -> dict[str, int]:
        """Return the number of chunks from each tier and the stored bytes, for ``--json``."""
        return {**self.tiers, "stored_bytes": self.stored_bytes}
