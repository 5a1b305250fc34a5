"""Entries in Redis, one for each admitted version. All chunks of an admitted version may be cached."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import AwareDatetime, TypeAdapter

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
    admitted_at: AwareDatetime
    warmed_at: AwareDatetime | None = None

    @property
    def name(self) -> str:
        """Return the field of the entries' hash, as in ``flights@12-3fa9c1``."""
        return f"{self.dataset}@{self.version}"

    def is_filling(self, now: datetime) -> bool:
        """Return whether the version is incomplete and was admitted less than 10 minutes ago.

        Its bytes are reserved during this time.
        """
        return self.warmed_at is None and now - self.admitted_at < _FILLING_FOR


_STORED = TypeAdapter(CacheEntry)


def pack_entry(entry: CacheEntry) -> bytes:
    """Return the entry as the bytes stored in Redis."""
    return _STORED.dump_json(entry)


def unpack_entry(stored: bytes) -> CacheEntry | None:
    """Return the entry from the bytes of ``pack_entry``; None for the format of an incompatible program version."""
    try:
        return _STORED.validate_json(stored)
    except ValueError:
        return None
