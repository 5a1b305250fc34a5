"""Entries of the versions admitted to the cache, which are stored in Redis itself."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

_FILLING_FOR = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Admission:
    """The decision whether a whole version may be cached; ``reason`` explains a refusal. Sizes in bytes of memory."""

    admitted: bool
    reason: str = ""
    needed_bytes: int = 0
    free_bytes: int = 0


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """A version in the cache: number of chunks and stored bytes; ``warmed_at`` is None while it is being filled."""

    dataset: str
    version: str
    chunks: int
    bytes: int
    admitted_at: datetime
    warmed_at: datetime | None = None

    @property
    def name(self) -> str:
        """Return the field of the entries' hash, as in ``flights@12-3fa9c1``."""
        return f"{self.dataset}@{self.version}"

    def is_filling(self, now: datetime) -> bool:
        """Return whether it was admitted less than 10 minutes ago and is not complete: its bytes stay reserved."""
        return self.warmed_at is None and now - self.admitted_at < _FILLING_FOR

    def to_json(self) -> dict[str, Any]:
        """Return the entry as JSON values."""
        return {
            "dataset": self.dataset,
            "version": self.version,
            "chunks": self.chunks,
            "bytes": self.bytes,
            "admitted_at": self.admitted_at.isoformat(),
            "warmed_at": self.warmed_at.isoformat() if self.warmed_at else None,
        }


def pack_entry(entry: CacheEntry) -> bytes:
    """Return the entry as the bytes stored in Redis."""
    return json.dumps(entry.to_json()).encode()


def unpack_entry(stored: bytes) -> CacheEntry | None:
    """Return the entry from the bytes of ``pack_entry``; None for the format of an incompatible program version."""
    try:
        value = json.loads(stored)
        warmed = value["warmed_at"]
        return CacheEntry(
            dataset=str(value["dataset"]),
            version=str(value["version"]),
            chunks=int(value["chunks"]),
            bytes=int(value["bytes"]),
            admitted_at=datetime.fromisoformat(value["admitted_at"]).astimezone(UTC),
            warmed_at=datetime.fromisoformat(warmed).astimezone(UTC) if warmed else None,
        )
    except (ValueError, KeyError, TypeError):
        return None
