"""Put a version into Redis, or the first chunks that fit. The bytes are verified as in a read."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from millrace.cache import Form, chosen_form
from millrace.dataset.dataset import Dataset
from millrace.dataset.filling import NOT_FILLED, Filled, Filling, VersionPart
from millrace.errors import UsageError
from millrace.progress import ProgressTask
from millrace.store import ChunkReader

if TYPE_CHECKING:
    from millrace.cache import ChunkCache, Room


_SIZE_MARGIN = 1.25
"""A value needs at most this many bytes of memory for each byte."""


@dataclass(frozen=True, slots=True)
class WarmOptions:
    """Which part of a version to put into Redis, and how; ``None`` is all rows, all columns, and the form that fits."""

    split: str | None = None
    columns: tuple[str, ...] | None = None
    form: Form | None = None

    def __post_init__(self) -> None:
        if self.columns is not None and self.form is Form.STORED:
            raise UsageError(
                "the stored form holds all columns of a chunk", hint="give --form raw to cache only some columns"
            )


@dataclass(frozen=True, slots=True)
class WarmReport:
    """Result of warming a version, or a split of it.

    ``complete`` is True if every chunk is in Redis now. ``reason`` says why not, else it is empty. ``share`` is the
    fraction of the chunks that are in Redis, always the first ones. ``form`` is empty if none is. ``chunks`` counts the
    chunks added now, ``already_cached`` those that were cached before. ``stored_bytes`` is the size of the version.
    """

    reference: str
    complete: bool
    reason: str
    chunks: int
    already_cached: int
    stored_bytes: int
    seconds: float
    form: str = ""
    split: str | None = None
    columns: tuple[str, ...] | None = None
    share: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON-compatible values."""
        return asdict(self)


def warm(
    dataset: Dataset,
    reader: ChunkReader,
    cache: ChunkCache | None,
    *,
    switched_off: str,
    task: ProgressTask,
    options: WarmOptions | None = None,
) -> WarmReport:
    """Put every chunk that is not cached into Redis, or the first chunks if not all of them fit.

    ``switched_off`` is the reason why ``cache`` is None, for the report. At most 30 MB are in flight. Errors of Redis
    are not raised; those of Cassandra are. Raises ``UsageError`` for an unknown split or column.
    """
    began = time.monotonic()
    version, options = dataset.version, options or WarmOptions()

    def report(reason: str, result: Filled = NOT_FILLED) -> WarmReport:
        task.message(_summary(version.reference, reason, result))
        return WarmReport(
            version.reference,
            not reason,
            reason,
            result.added,
            result.already_cached,
            version.stored_bytes,
            round(time.monotonic() - began, 3),
            result.form,
            options.split,
            options.columns,
            round(result.share, 4),
        )

    part = VersionPart.of(dataset, options.split, options.columns)
    if cache is None:
        return report(f"no cache is configured ({switched_off})")
    room = cache.room()
    if room is None:
        return report(f"the cache at {cache.address} does not respond")
    form = options.form or _form(part, cache, room)
    chunks = part.values(cache, form, room)
    with cache.warming(part.record(form), chunks, room) as warming:
        if not warming.chunks and part.chunks:
            return report(warming.reason)
        filled = Filling(part, reader, cache, form, warming, task).fill()
        if filled is None:
            return report("Redis stored only part of it; that part was removed again")
        return report(warming.reason, filled)


def _form(part: VersionPart, cache: ChunkCache, room: Room) -> Form:
    version, fraction = part.dataset.version, len(part.chunks) / max(1, part.dataset.version.chunks)
    return chosen_form(
        stored_bytes=int(version.stored_bytes * fraction * _SIZE_MARGIN),
        raw_bytes=int(version.raw_bytes * fraction * _SIZE_MARGIN),
        free_bytes=room.free_bytes,
        cached=cache.forms(version.dataset, version.label).of_version,
        has_columns=part.tiles is not None,
    )


def _summary(reference: str, reason: str, filled: Filled) -> str:
    chunks = filled.added + filled.already_cached
    if not chunks and reason:
        return f"{reference} is not in Redis: {reason}"
    if reason:
        return f"{reference}: the first {chunks:,} chunks are in Redis, {filled.share:.0%} of it: {reason}"
    return f"{reference} is in Redis, {filled.rows:,} rows in {chunks:,} chunks"
