"""Reading of a planned source: one split, or the whole source, as a stream of record batches."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Self

import pyarrow as pa

from millrace.arrow import held_bytes
from millrace.errors import SourceError
from millrace.sources.formats import read_parts
from millrace.sources.io.source_checksum import ReadContent, SourceChecksum
from millrace.sources.model import SourcePlan, Split
from millrace.sources.reject_log import REJECTS_BYTES_MAX, RejectLog
from millrace.sources.splits import parts_of

BATCH_BYTES = 8_000_000
"""Largest size of one batch in bytes of Arrow data, unless a single row is larger."""
_BATCH_ROWS = 1_000_000
"""Largest number of rows in one batch: nulls and runs take no bytes, but counting rows takes 8 bytes for each."""


class SplitReader:
    """An iterator over the rows of one split as record batches of at most about 8 MB; iterate once, close when done.

    Every batch has the columns of ``plan.schema``, in its order. Its types are those it was parsed with; columns of
    nulls and of integers may be widened during the read. ``schema`` is the widest so far. ``bytes_read`` counts bytes
    of the source, never falls, and is ``split.bytes`` at the end (for standard input, the bytes read). ``contents`` has
    the checksum of the bytes of each file of the split, and ``content`` that of all of them. Both are None before the
    end, for a preview (``preview``), and where standard input was not read front to back. ``rejects`` has the rows that
    were set aside so far. Raises the matching ``SourceError``.
    """

    def __init__(self, plan: SourcePlan, split: Split, *, preview: bool = False) -> None:
        # The splits of a plan share the size that all rejects of a load may have.
        share = REJECTS_BYTES_MAX * (split.bytes + 1) // (plan.total_bytes + len(plan.splits) + 1)
        bytes_max = share if len(plan.splits) > 1 else REJECTS_BYTES_MAX
        self.rejects = RejectLog(plan.rules, bytes_max=bytes_max, is_limited=not preview)
        self.split = split
        self.schema: pa.Schema = plan.schema
        self.bytes_read = 0
        self.contents: tuple[SourceChecksum, ...] | None = None
        self._batches = self._read(plan, preview)

    @property
    def content(self) -> SourceChecksum | None:
        """Return the checksum of all bytes read, or None."""
        return None if self.contents is None else SourceChecksum.of(self.contents)

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        return self

    def __next__(self) -> pa.RecordBatch:
        return next(self._batches)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close files and stop threads; may be called twice, and before the end."""
        self._batches.close()

    def _read(self, plan: SourcePlan, preview: bool) -> Generator[pa.RecordBatch, None, None]:
        before, current, last = 0, -1, 0
        parts = parts_of(self.split)
        read = ReadContent(plan.files)
        # Where the size of a file is not known (standard input), the bytes read have no limit.
        is_unknown = any(plan.files[part.file].has_unknown_size for part in parts)
        for batch, number, done in read_parts(plan, parts, read, self.rejects, preview=preview):
            if number != current:
                before, current = before + last, number
            last = done
            limit = before + done if is_unknown else self.split.bytes
            self.bytes_read = max(self.bytes_read, min(limit, before + done))
            self.schema = batch.schema
            yield from in_pieces(batch)
        self.bytes_read = max(self.bytes_read, self.split.bytes)
        if not preview:
            self.contents = read.of_parts(parts)


def in_pieces(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Yield the batch in pieces, halved until each is small enough."""
    waiting = [batch.slice(start, _BATCH_ROWS) for start in range(0, batch.num_rows, _BATCH_ROWS)][::-1]
    while waiting:
        piece = waiting.pop()
        if piece.num_rows > 1 and held_bytes(piece) > BATCH_BYTES:
            half = piece.num_rows // 2
            halves = [piece.slice(half), piece.slice(0, half)]
            # Every slice has the whole dictionary, so cutting rows does not make it smaller.
            if sum(held_bytes(part) for part in halves) < 1.5 * held_bytes(piece):
                waiting += halves
                continue
        yield piece


def open_split(plan: SourcePlan, split: Split, *, preview: bool = False) -> SplitReader:
    """Open the rows of one of the plan's splits, in this process or any other process with access to the same files.

    With ``preview`` this read is a preview before the load: standard input, which can be loaded once, is kept for it.
    """
    return SplitReader(plan, split, preview=preview)


def open_source(plan: SourcePlan) -> SplitReader:
    """Open the rows of the whole source as one stream: those of all splits, one after another."""
    if not plan.splits:
        raise SourceError(f"the plan of {plan.uri} has no splits")
    first, last = plan.splits[0], plan.splits[-1]
    all_splits = Split(
        index=0,
        label=plan.uri,
        files=tuple(range(first.files[0], last.files[-1] + 1)),
        start=first.start,
        stop=last.stop,
        bytes=sum(split.bytes for split in plan.splits),
        rows=plan.total_rows,
    )
    return SplitReader(plan, all_splits)
