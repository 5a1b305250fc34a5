"""The result of loading one split, as the tasks of a load pass it on."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pyarrow as pa

from millrace.load.rejects import RejectResult
from millrace.sources import SourceChecksum, pack_checksums, unpack_checksums


@dataclass(frozen=True, slots=True)
class SplitResult:
    """The data of one split in Cassandra: names and totals, never a list of chunks. Sizes are in bytes.

    ``pages`` counts the pages of this attempt alone. The totals include the inherited pages.
    """

    split: int
    attempt_id: UUID
    inherited: tuple[tuple[UUID, int, int], ...]
    """Complete pages of earlier attempts: attempt, first and last page.

    The numbers of pages rise from first to last; those of journal pages fall.
    """
    pages: int
    chunks: int
    rows: int
    raw_bytes: int
    stored_bytes: int
    under_replicated: int
    retries: int
    schema: bytes
    """The physical schema at the end of the split, as serialized Arrow. It may be wider than the plan's."""
    contents: tuple[SourceChecksum, ...] | None = None
    """Checksum and size of the source bytes that were read of each file; None if they are not known."""
    rejects: RejectResult | None = None
    """The rows that were set aside; None if there are none."""
    span_s: tuple[float, float] = (0.0, 0.0)
    """Start and end of the work, in seconds since 1970."""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON for a task's result."""
        return {
            "split": self.split,
            "attempt_id": self.attempt_id.hex,
            "inherited": [[attempt_id.hex, first, last] for attempt_id, first, last in self.inherited],
            "pages": self.pages,
            "chunks": self.chunks,
            "rows": self.rows,
            "raw_bytes": self.raw_bytes,
            "stored_bytes": self.stored_bytes,
            "under_replicated": self.under_replicated,
            "retries": self.retries,
            "schema": base64.b64encode(self.schema).decode(),
            "contents": None if self.contents is None else pack_checksums(self.contents),
            "rejects": self.rejects and self.rejects.to_json(),
            "span_s": list(self.span_s),
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> SplitResult:
        """Create the result from the JSON of ``to_json``."""
        return cls(
            **{
                **value,
                "attempt_id": UUID(hex=value["attempt_id"]),
                "inherited": tuple(
                    (UUID(hex=attempt_id), first, last) for attempt_id, first, last in value["inherited"]
                ),
                "schema": base64.b64decode(value["schema"]),
                "contents": unpack_checksums(value["contents"]) if value.get("contents") else None,
                "rejects": RejectResult.from_json(value["rejects"]) if value.get("rejects") else None,
                "span_s": tuple(value["span_s"]),
            }
        )

    def arrow_schema(self) -> pa.Schema:
        """Return the schema as Arrow."""
        return pa.ipc.read_schema(pa.py_buffer(self.schema))
