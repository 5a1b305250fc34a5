"""Write the rejects of one split as chunks of the dataset of rejects, beside the chunks of the split itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any, Final
from uuid import UUID, uuid4

import pyarrow as pa

from millrace.chunks import ChunkSettings, RowGroup, RowGrouper, TileLayout, encode_row_group
from millrace.errors import BadRowsError
from millrace.sources import REJECT_SCHEMA, REJECTS_ENDING, RejectKind, RejectLog
from millrace.store import CassandraSession, ChunkWriter, LoadAttempt, ReplicatedWriter

REJECT_CHUNKS: Final = ChunkSettings(row_group_bytes=8_000_000)
REJECT_LAYOUT: Final = TileLayout.for_schema(REJECT_SCHEMA)
Header = tuple[tuple[str, ...], tuple[str, ...]]
"""The columns of a text file in their order, and the names of the files that have them."""


@dataclass(frozen=True, slots=True)
class RejectResult:
    """The rejects of one split: numbers, the first reasons, and the attempt that wrote them.

    ``unstored`` counts the rejects beyond the size that a load may store. ``attempt_id`` is None and the totals are 0
    if nothing was written. Sizes are in bytes.
    """

    bad: int = 0
    discarded_rows: int = 0
    discarded_values: int = 0
    unstored: int = 0
    reasons: tuple[str, ...] = ()
    headers: tuple[Header, ...] = ()
    attempt_id: UUID | None = None
    pages: int = 0
    chunks: int = 0
    rows: int = 0
    raw_bytes: int = 0
    stored_bytes: int = 0
    under_replicated: int = 0
    retries: int = 0

    @classmethod
    def of(cls, log: RejectLog, **written: Any) -> RejectResult:
        """Return the result of a read; ``written`` are the fields of the attempt."""
        files: dict[tuple[str, ...], list[str]] = {}
        for file, columns in log.headers.items():
            files.setdefault(columns, []).append(file)
        return cls(
            bad=log.counts[RejectKind.BAD],
            discarded_rows=log.counts[RejectKind.DISCARDED_ROW],
            discarded_values=log.counts[RejectKind.DISCARDED_VALUE],
            unstored=log.unstored,
            reasons=tuple(log.reasons),
            headers=tuple((columns, tuple(names)) for columns, names in files.items()),
            **written,
        )

    @property
    def is_any(self) -> bool:
        """Whether anything was set aside."""
        return bool(self.bad or self.discarded_rows or self.discarded_values)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON for a task's result."""
        return {**asdict(self), "attempt_id": self.attempt_id and self.attempt_id.hex}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> RejectResult:
        """Create the result from the JSON of ``to_json``."""
        attempt_id = value["attempt_id"]
        return cls(
            **{
                **value,
                "reasons": tuple(value["reasons"]),
                "headers": tuple((tuple(columns), tuple(files)) for columns, files in value["headers"]),
                "attempt_id": None if attempt_id is None else UUID(hex=attempt_id),
            }
        )


class SplitOverBudgetError(Exception):
    """A split has more bad rows than the whole load may have; its rejects are written and not published yet."""

    def __init__(self, refusal: BadRowsError, rejects: RejectResult) -> None:
        super().__init__(refusal)
        self.refusal = refusal
        self.rejects = rejects


class RejectWriter:
    """Writer of the rejects of the attempt ``row``, as an attempt of its own at the dataset of rejects.

    Nothing is written before the first reject. An attempt writes all rejects of its split, also if it resumes an
    earlier one, because it reads the whole split again.
    """

    def __init__(
        self, cassandra: CassandraSession, writes: ReplicatedWriter, row: LoadAttempt, *, bucket_bytes: int
    ) -> None:
        self._cassandra = cassandra
        self._writes = writes
        self._bucket_bytes = bucket_bytes
        self.row = replace(row, dataset=row.dataset + REJECTS_ENDING, attempt_id=uuid4(), first_row=0)
        self._grouper = RowGrouper(REJECT_CHUNKS)
        self._chunk_writer: ChunkWriter | None = None

    def write(self, batches: Iterable[pa.RecordBatch]) -> None:
        """Write rejects; those of the last row group wait for more."""
        for batch in batches:
            self._write(self._grouper.feed(batch))

    def finish(self, log: RejectLog) -> RejectResult:
        """Write the last rejects, wait for every acknowledgement, and return the result."""
        self.write(log.take())
        self._write(self._grouper.finish())
        if self._chunk_writer is None:
            return RejectResult.of(log)
        report = self._chunk_writer.finish()
        return RejectResult.of(
            log,
            attempt_id=self.row.attempt_id,
            pages=len(report.pages),
            chunks=report.chunks,
            rows=report.rows,
            raw_bytes=sum(page.raw_bytes for page in report.pages),
            stored_bytes=sum(page.stored_bytes for page in report.pages),
            under_replicated=report.under_replicated + self._chunk_writer.record_lost_writes(),
            retries=report.retries,
        )

    def _write(self, groups: Iterable[RowGroup]) -> None:
        for group in groups:
            if self._chunk_writer is None:
                self._chunk_writer = ChunkWriter(
                    self._cassandra, self._writes, self.row, bucket_bytes=self._bucket_bytes
                )
            for chunk in encode_row_group(group, REJECT_CHUNKS, REJECT_LAYOUT):
                self._chunk_writer.write(chunk)
