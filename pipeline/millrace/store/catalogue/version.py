"""A version as its row in the catalogue describes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import xxhash

from millrace.chunks import TileLayout
from millrace.display import html_table
from millrace.errors import ChunkFormatError

_FACT_BYTES_MAX = 500
FORMAT_NUMBER = 3
"""The highest format number that this Millrace reads.

2 has tiles that older chunks lack, or a list of loaded files. 3 has tiles that are matrices.
"""
DELETED, RESTORED, WITHDRAWN = "deleted", "restored", "withdrawn"
"""Values of a version's ``mark``: a user deleted it, the deletion was undone, or its own publisher withdrew it for
good."""


@dataclass(frozen=True, slots=True, repr=False)
class Version:
    """One version as its row describes it; ``schema_blob``, ``pages_blob`` and ``files_blob`` are None in listings.

    Sizes are in bytes. ``page_count`` counts manifest pages, ``attempts`` the load attempts that wrote its chunks.
    """

    dataset: str
    number: int
    hex: str
    parent: str | None
    mode: str
    kind: str
    attempt_id: UUID
    attempts: int
    run: str
    code: str
    rows: int
    raw_bytes: int
    stored_bytes: int
    chunks: int
    page_count: int
    source: dict[str, Any]
    settings: dict[str, Any]
    committed_at: datetime
    schema_blob: bytes | None = field(default=None, repr=False)
    pages_blob: bytes | None = field(default=None, repr=False)
    files_blob: bytes | None = field(default=None, repr=False)
    """The references to the lists of loaded files; None also for a version without one (docs/format.md)."""
    checksum: bytes = field(default=b"", repr=False)
    deleted_at: datetime | None = None
    """None while readers see the version, also after an undone deletion."""
    mark: str = ""
    """``DELETED``, ``RESTORED`` or ``WITHDRAWN``; empty if it was never marked."""
    purged_at: datetime | None = None
    degraded: bool = False

    def __repr__(self) -> str:
        return (
            f"<Version {self.reference}: {self.rows:,} rows, {self.chunks:,} chunks, "
            f"{self.stored_bytes:,} stored bytes, {self.committed_at.isoformat(timespec='seconds')}>"
        )

    def _repr_html_(self) -> str:
        return html_table(f"Version {self.reference}", self.shown())

    def shown(self) -> list[tuple[str, object]]:
        """Return the most important facts with their names, for display."""
        return [
            ("rows", self.rows),
            ("chunks", self.chunks),
            ("raw bytes", self.raw_bytes),
            ("stored bytes", self.stored_bytes),
            ("committed", self.committed_at.isoformat(timespec="seconds")),
            ("source", self.source.get("uri", "")),
            ("run", self.run),
        ]

    @classmethod
    def from_row(cls, dataset: str, row: Any) -> Version:
        """Return the version that a row of ``versions`` describes, without its blobs.

        Raises ``ChunkFormatError`` for a row with missing or malformed columns.
        """
        try:
            return cls(
                dataset=dataset,
                number=row.number,
                hex=row.hex,
                parent=row.parent,
                mode=row.mode,
                kind=row.kind,
                attempt_id=row.attempt_id,
                attempts=row.attempts,
                run=row.run,
                code=row.code,
                rows=row.rows,
                raw_bytes=row.raw_bytes,
                stored_bytes=row.stored_bytes,
                chunks=row.chunks,
                page_count=row.page_count,
                source=json.loads(row.source),
                settings=json.loads(row.settings),
                committed_at=row.committed_at.replace(tzinfo=UTC),
                checksum=row.checksum,
                deleted_at=None if row.mark == RESTORED else row.deleted_at and row.deleted_at.replace(tzinfo=UTC),
                mark=row.mark or "",
                purged_at=row.purged_at and row.purged_at.replace(tzinfo=UTC),
            )
        except (AttributeError, TypeError, ValueError) as error:
            raise ChunkFormatError(
                f"the row of {dataset}@{row.number}-{row.hex} is damaged ({error})", dataset=dataset
            ) from None

    @property
    def label(self) -> str:
        """``12-3fa9c1``."""
        return f"{self.number}-{self.hex}"

    @property
    def reference(self) -> str:
        """``flights@12-3fa9c1``."""
        return f"{self.dataset}@{self.label}"

    @property
    def format_number(self) -> int:
        """The number of the format that a reader of the version must know (docs/format.md)."""
        return int(self.settings.get("format", 1))

    @property
    def root(self) -> str:
        """Label of the ``replace`` that began its line; ``empty`` if the line began with an append."""
        return str(self.settings.get("root", self.label))

    @property
    def merged(self) -> tuple[str, ...]:
        """Labels of the versions that a merge has merged."""
        return tuple(self.source.get("merged", ()))

    @property
    def inputs(self) -> Mapping[str, str]:
        """The exact versions that it was made from, by their aliases: ``{"flights": "flights@12-3fa9c1"}``."""
        return dict(self.settings.get("inputs", {}))

    @property
    def layout(self) -> TileLayout:
        """The columns of each tile; the same in every chunk."""
        columns = [range(first, first + count) for first, count in self.settings["layout"]]
        return TileLayout.from_json(columns, self.settings.get("matrices", ()))

    @property
    def largest_chunk_bytes(self) -> int:
        """Stored bytes of the largest chunk."""
        return int(self.settings["largest_chunk_bytes"])

    def compute_checksum(self) -> bytes:
        """Return the xxh3-128 checksum of every field that a reader relies on, in a fixed order (docs/format.md)."""
        facts = [
            self.dataset,
            self.label,
            self.parent,
            self.mode,
            self.kind,
            self.attempt_id.hex,
            self.attempts,
            self.run,
            self.code,
            [self.rows, self.raw_bytes, self.stored_bytes, self.chunks, self.page_count],
            self.source,
            self.settings,
            round(self.committed_at.timestamp() * 1000),
            (self.schema_blob or b"").hex(),
            (self.pages_blob or b"").hex(),
        ]
        if self.files_blob is not None:
            facts.append(self.files_blob.hex())
        text = json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return xxhash.xxh3_128_digest(text.encode())


def layout_setting(layout: TileLayout) -> list[list[int]]:
    """Return first column and number of columns of each tile: at most 64 pairs for any number of columns.

    The matrices of the layout are a setting of their own.
    """
    return [[tile[0] if tile else 0, len(tile)] for tile in layout.columns]


def bounded_facts(facts: dict[str, Any]) -> dict[str, Any]:
    """Return the facts with long values shortened, so that a version's row stays small.

    A value is long above 500 characters as JSON. A long string is cut at 500 characters; any other long value is
    replaced by its length and digest.
    """
    bounded = {}
    for name, value in facts.items():
        text = json.dumps(value, sort_keys=True)
        if len(text) > _FACT_BYTES_MAX and isinstance(value, str):
            value = f"{value[:_FACT_BYTES_MAX]}..."
        elif len(text) > _FACT_BYTES_MAX:
            value = {"bytes": len(text), "xxh3_128": xxhash.xxh3_128_hexdigest(text.encode())}
        bounded[name] = value
    return bounded
