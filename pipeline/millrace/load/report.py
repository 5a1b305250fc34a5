"""Describe the result of a load for users, programs and the page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any, Final

import pyarrow as pa

from millrace.display import html_table
from millrace.errors import StoreError
from millrace.load.append import selector_of
from millrace.load.columns import ReportedColumns, reported_columns
from millrace.load.lists import page_sums
from millrace.progress import short_text
from millrace.sources import SourceWarning
from millrace.store import Catalogue, PageRef, UnderReplicated, Version

_EVENT_TEXT_MAX: Final = 100
_EVENT_COLUMNS_BYTES_MAX: Final = 8_000
_OUTCOME_FIELDS: Final = ("dataset", "version", "kind", "mode", "rows", "total_rows", "raw_bytes", "stored_bytes")


@dataclass(frozen=True, slots=True, repr=False)
class LoadReport:
    """Result of a load.

    ``replicas`` is 2 if every chunk and row is known to be on two nodes, else 1 (``degraded``). ``rows``, ``chunks``
    and the sizes in bytes count the data that this load added. ``total_rows`` counts the rows of the version.
    """

    dataset: str
    version: str
    run: str
    mode: str
    kind: str
    parent: str | None
    rows: int
    total_rows: int
    raw_bytes: int
    stored_bytes: int
    chunks: int
    replicas: int
    under_replicated: int
    retries: int
    splits: int
    source: str
    seconds: float = 0.0
    rows_per_s: float = 0.0
    missing: tuple[str, ...] = field(default=())
    """Optional services that were unreachable and that the load did without: ``progress``, ``cache``."""
    warnings: tuple[SourceWarning, ...] = field(default=())
    """All unexpected properties of the source, from its plan and its splits, and of the load itself."""
    columns: ReportedColumns = field(default=())
    """Name and Arrow type of the version's first columns, as many as ``reported_columns`` gives."""
    columns_total: int = 0
    skipped: str = ""
    """``unchanged`` if no version was made because the source is unchanged; the report then describes the latest."""
    rejected: int = 0
    """Bad rows that were set aside and count against the budget."""
    discarded_rows: int = 0
    discarded_values: int = 0
    """Rows that were dropped, and values that were made null, because the contract says so; also set aside."""
    rejects: str | None = None
    """The version of ``NAME__rejects`` that holds what was set aside, like ``flights__rejects@3-1a2b3c``."""
    schema_changes: tuple[str, ...] = ()
    """Differences between the schema of the parent and that of the version, one sentence each."""

    def __repr__(self) -> str:
        return (
            f"<LoadReport {self.dataset}@{self.version}: {self.rows:,} rows added, {self.total_rows:,} in the version, "
            f"{self.stored_bytes:,} stored bytes, {self.replicas} replicas, {len(self.warnings)} warnings>"
        )

    def _repr_html_(self) -> str:
        facts: list[tuple[str, object]] = [
            ("rows added", self.rows),
            ("rows in the version", self.total_rows),
            ("raw bytes", self.raw_bytes),
            ("stored bytes", self.stored_bytes),
            ("chunks", self.chunks),
            ("replicas", self.replicas),
            ("seconds", self.seconds),
            ("source", self.source),
            ("run", self.run),
        ]
        facts += [("warning", warning.message) for warning in self.warnings]
        return html_table(f"Load of {self.dataset}@{self.version}", facts)

    @property
    def degraded(self) -> bool:
        """Whether a chunk or row is on one node only; ``millrace repair`` writes the missing replica."""
        return self.replicas < 2

    @property
    def rows_read(self) -> int:
        """Rows that the load read: those that it added, and those that it set aside."""
        return self.rows + self.rejected + self.discarded_rows

    @property
    def ratio(self) -> float:
        """Raw bytes for each stored byte."""
        return self.raw_bytes / self.stored_bytes if self.stored_bytes else 1.0

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON: every field, and ``degraded`` and ``ratio``.

        Each column is an object with name and type.
        """
        columns = [{"name": name, "type": kind} for name, kind in self.columns]
        return {**asdict(self), "columns": columns, "degraded": self.degraded, "ratio": round(self.ratio, 3)}


def outcome(report: LoadReport, schema: pa.Schema) -> dict[str, Any]:
    """Return the result of a load for its last event, from which the live page makes a table: JSON of at most 16 kB.

    ``columns`` holds name and type of the first columns, as many as fit; ``columns_total`` counts all of them. ``rows``
    and the bytes count the data that this load added; ``total_rows`` counts the rows of the version.
    """
    columns = reported_columns(
        schema,
        size_max=_EVENT_COLUMNS_BYTES_MAX,
        size_of=lambda text: len(ascii(text)),  # in an event, a character outside ASCII takes up to twelve bytes
        to_text=partial(short_text, length_max=_EVENT_TEXT_MAX),
    )
    return {
        **{name: getattr(report, name) for name in _OUTCOME_FIELDS},
        "columns": [list(pair) for pair in columns],
        "columns_total": len(schema),
    }


def version_report(
    catalogue: Catalogue,
    version: Version,
    added: Sequence[PageRef],
    records: Iterable[UnderReplicated],
    *,
    replicas: int = 2,
    **facts: Any,
) -> LoadReport:
    """Return the report of a published version, with its columns and with warnings about its replicas.

    ``added`` are the pages that the load added, and ``records`` those of its under-replicated data. ``replicas`` is the
    number of nodes that have all other data. ``facts`` are fields whose values the load knows better than the version's
    row.
    """
    under_replicated = sum(max(1, record.chunks) for record in records)
    report = LoadReport(
        dataset=version.dataset,
        version=version.label,
        run=version.run,
        mode=version.mode,
        kind=version.kind,
        parent=version.parent,
        total_rows=version.rows,
        replicas=1 if under_replicated or replicas < 2 else 2,
        under_replicated=under_replicated,
        retries=0,
        splits=len({page.attempt_id for page in added}),
        source=str(version.source.get("uri", "")),
        **page_sums(added),
    )
    return _with_columns(catalogue, version, _with_state(catalogue, replace(report, **facts)))


def _with_columns(catalogue: Catalogue, version: Version, report: LoadReport) -> LoadReport:
    """Return the report with the columns of the version; without them if they cannot be read."""
    try:
        # A version from a list of versions comes without its schema.
        if not version.schema_blob:
            version = catalogue.resolve(version.dataset, selector_of(version.label))
        schema = catalogue.pages.schema(version)
    except StoreError:
        return report
    return replace(report, columns=reported_columns(schema), columns_total=len(schema))


def _with_state(catalogue: Catalogue, report: LoadReport) -> LoadReport:
    """Return the report with a warning for data on one node only, and for a node that did not respond."""
    message = f"{report.dataset}@{report.version} has {report.under_replicated} chunks or rows on one node only"
    warnings = [SourceWarning("degraded", message)] if report.degraded else []
    if catalogue.reader.was_degraded:
        warnings.append(SourceWarning("node_down", catalogue.reader.degraded_warning))
    return replace(report, warnings=(*warnings, *report.warnings))
