"""Values of the catalogue's rows about load attempts, and of records of under-replicated data."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum, StrEnum
from typing import Any
from uuid import UUID


class AttemptRole(StrEnum):
    """The work of an attempt. A publisher writes a version's row and lists, and no chunks."""

    SPLIT = "split"
    SOURCE = "source"
    """Writes the whole source as one stream."""
    PUBLISHER = "publisher"
    UNDELETE = "undelete"


class MetadataBucket(IntEnum):
    """Buckets of ``under_replicated`` that mean manifest pages and catalogue rows; those from 0 up hold chunks."""

    PAGES = -1
    CATALOGUE = -2


_EPOCH = datetime(1970, 1, 1)  # like the driver's times: without a time zone, in UTC


@dataclass(frozen=True, slots=True)
class LoadAttempt:
    """The row of a load attempt; ``attempt_id`` is the attempt's ID.

    The attempt writes the row before its first chunk and updates it by heartbeats.
    """

    dataset: str
    attempt_id: UUID
    run: str
    fingerprint: str
    role: AttemptRole | None
    """None in a row that holds only the fence, because its node missed the attempt's own writes."""
    try_number: int
    version: str
    host: str
    started: datetime
    split: int = 0
    """Number of the split, for the role ``SPLIT``."""
    first_row: int = 0
    """Number of leading rows of the split that an earlier attempt has written; this attempt writes the rows after
    them."""
    last_seen: datetime | None = None
    buckets: int = 0
    finished: bool = False
    fenced: bool = False
    """Set before any data of the attempt is removed. No version may reference a fenced attempt any more."""

    @classmethod
    def from_row(cls, dataset: str, row: Any) -> LoadAttempt:
        """Return the attempt that a row of ``attempts`` describes."""
        return cls(
            dataset=dataset,
            attempt_id=row.attempt_id,
            run=row.run or "",
            fingerprint=row.fingerprint or "",
            role=AttemptRole(row.role) if row.role else None,
            split=row.split or 0,
            try_number=row.try_number or 0,
            version=row.version or "",
            host=row.host or "",
            # A node that missed the row may hold the fence alone.
            started=(row.started or row.last_seen or _EPOCH).replace(tzinfo=UTC),
            first_row=row.first_row or 0,
            last_seen=row.last_seen and row.last_seen.replace(tzinfo=UTC),
            buckets=row.buckets or 0,
            finished=bool(row.finished),
            fenced=bool(row.fenced),
        )


@dataclass(frozen=True, slots=True)
class UnderReplicated:
    """Record of a bucket whose data is not known to be on two nodes: a bucket of chunks or a ``MetadataBucket``."""

    dataset: str
    attempt_id: UUID
    bucket: int
    record_id: UUID
    chunks: int
