"""Which versions were admitted to the cache, written down in Redis itself."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

__all__ = ["Admission", "CacheEntry", "pack_entry", "unpack_entry"]

_FILLING_FOR = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Admission:
    """Whether a whole version may be put into the cache; ``reason`` says why not. Sizes in bytes of Redis' memory."""

    admitted: bool
    reason: str = ""
    needed_bytes: int = 0
    room_bytes: int = 0


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """A version in the cache: its chunks and stored bytes; ``warmed_at`` is None while it is being filled."""

    dataset: str
    version: str
    chunks: int
    bytes: int
    admitted_at: datetime
    warmed_at: datetime | None = None

    @property
    def name(self) -> str:
        """``flights@12-3fa9c1``; the field of the hash."""
        return f"{self.dataset}@{self.version}"

    def is_filling(self, now: datetime) -> bool:
        """Admitted a short time ago and not complete: its bytes are spoken for."""
        return self.warmed_at is None and now - self.admitted_at < _FILLING_FOR

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "dataset": self.dataset,
            "version": self.version,
            "chunks": self.chunks,
            "bytes": self.bytes,
            "admitted_at": self.admitted_at.isoformat(),
            "warmed_at": self.warmed_at.isoformat() if self.warmed_at else None,
        }


def pack_entry(entry: CacheEntry) -> bytes:
    """The entry as Redis keeps it."""
    return json.dumps(entry.to_json()).encode()


def unpack_entry(stored: bytes) -> CacheEntry | None:
    """The inverse of ``pack_entry``; None for what another version of the program wrote."""
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
