"""Describe the result of a load for users, programs and the page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar, Literal

from millrace.display import html_table
from millrace.load.columns import ReportedColumns
from millrace.load.report_parts import ReportedError, SourceFacts
from millrace.sources import SourceWarning


@dataclass(frozen=True, slots=True, repr=False)
class LoadReport:
    """Result of a load, and of a run that failed or made no version.

    ``rows``, ``chunks`` and the sizes in bytes count the data that this load added; ``total_rows`` counts the rows of
    the version. The report of a failed run has no version, and counts no rows.

    The fields, and the properties in ``DERIVED``, are the keys of the JSON document (docs/load-report.schema.json).
    """

    DERIVED: ClassVar = ("state", "degraded", "ratio", "rows_read", "source_bytes_per_s")

    dataset: str
    version: str
    """The version, such as ``12-3fa9c1``; empty if the run failed."""
    run: str
    """The identity of the run: an id, or ``DAG/RUN`` for a run of Airflow."""
    mode: str
    kind: str
    """``table`` or ``bytes``; empty if it is not known."""
    parent: str | None
    """The version that the new one follows."""
    rows: int
    """Rows that this load wrote."""
    total_rows: int
    """Rows of the version."""
    raw_bytes: int
    """Size of the written rows as Arrow data."""
    stored_bytes: int
    """Size of the written chunks, in one replica."""
    chunks: int
    replicas: int
    """2 if every chunk and row is known to be on two nodes, else 1."""
    under_replicated: int
    """Chunks and rows that are known to be on one node only."""
    retries: int
    """Writes that were sent again."""
    splits: int
    """Parts in which the source was loaded."""
    source: str
    """The address of the source."""
    seconds: float = 0.0
    """Time from the start of the run until the version is visible."""
    rows_per_s: float = 0.0
    missing: tuple[str, ...] = field(default=())
    """Optional services that were unreachable and that the load did without: ``progress``, ``cache``."""
    warnings: tuple[SourceWarning, ...] = field(default=())
    """All unexpected properties of the source, from its plan and its splits, and of the load itself."""
    columns: ReportedColumns = field(default=())
    """Name and Arrow type of the version's first columns, as many as ``reported_columns`` gives."""
    columns_total: int = 0
    """Number of the version's columns."""
    skipped: str = ""
    """``unchanged`` if no version was made because the source is unchanged; the report then describes the latest."""
    rejected: int = 0
    """Bad rows that were set aside and count against the budget."""
    discarded_rows: int = 0
    """Rows that were dropped because the contract says so; also set aside."""
    discarded_values: int = 0
    """Values that were made null because the contract says so; also set aside."""
    rejects: str | None = None
    """The version of ``NAME__rejects`` that holds what was set aside, like ``flights__rejects@3-1a2b3c``."""
    schema_changes: tuple[str, ...] = ()
    """Differences between the schema of the parent and that of the version, one sentence each."""
    started: str = ""
    """Time when the run started, in UTC; empty if it is not known."""
    source_facts: SourceFacts = field(default_factory=SourceFacts)
    """Facts of the source that was loaded."""
    stages: Mapping[str, float] = field(default_factory=dict)
    """Seconds of each stage that ran: ``plan``, ``load``, ``verify``, ``publish``, ``warm``; in a preparation
    ``fetch``, ``query``, ``join`` and ``write`` in the place of ``load``."""
    training: Mapping[str, Any] | None = None
    """Facts of a run that prepared training data or trained a model: inputs, rows by split, metrics; else null."""
    error: ReportedError | None = None
    """The error of a failed run, else null."""
    cut: Mapping[str, int] = field(default_factory=dict)
    """Original length of each list that was shortened in the stored report."""

    def __repr__(self) -> str:
        return (
            f"<LoadReport {self.reference}: {self.rows:,} rows added, {self.total_rows:,} in the version, "
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
        if self.state != "succeeded":
            facts.insert(0, ("state", self.state_in_words))
        facts += [(name, value) for name, value in self.set_aside if value]
        facts += [("schema change", change) for change in self.schema_changes]
        facts += [("warning", warning.message) for warning in self.warnings]
        return html_table(f"Load of {self.reference}", facts)

    @property
    def reference(self) -> str:
        """``flights@12-3fa9c1``; the name of the dataset alone without a version."""
        return f"{self.dataset}@{self.version}" if self.version else self.dataset

    @property
    def state(self) -> Literal["succeeded", "failed", "skipped"]:
        """``succeeded``, ``failed`` (then ``error`` has the reason) or ``skipped`` (then ``skipped`` has it)."""
        if self.error is not None:
            return "failed"
        return "skipped" if self.skipped else "succeeded"

    @property
    def state_in_words(self) -> str:
        """The state, with its reason unless the run succeeded."""
        if self.error is not None:
            hint = f": {self.error['hint']}" if self.error["hint"] else ""
            return f"failed with {self.error['class']}: {self.error['message']}{hint}"
        return f"skipped ({self.skipped})" if self.skipped else "succeeded"

    @property
    def set_aside(self) -> tuple[tuple[str, int], ...]:
        """Names and numbers of the rows and values that were set aside."""
        return (
            ("rejected rows", self.rejected),
            ("discarded rows", self.discarded_rows),
            ("discarded values", self.discarded_values),
        )

    @property
    def rows_read(self) -> int:
        """Rows that were read from the source: those written, rejected and discarded."""
        return self.rows + self.rejected + self.discarded_rows

    @property
    def source_bytes_per_s(self) -> float:
        """Bytes of the source for each second of the run; 0 for a run that read nothing."""
        is_read = self.seconds and self.state == "succeeded"
        return round(self.source_facts.bytes / self.seconds, 1) if is_read else 0.0

    @property
    def degraded(self) -> bool:
        """Whether a chunk or row is on one node only; ``millrace repair`` writes the missing replica."""
        return self.replicas < 2

    @property
    def ratio(self) -> float:
        """Raw bytes for each stored byte, to three digits."""
        return round(self.raw_bytes / self.stored_bytes, 3) if self.stored_bytes else 1.0

    def to_json(self) -> dict[str, Any]:
        """Return the JSON document of docs/load-report.schema.json: every field, and the properties in ``DERIVED``.

        Each column is an object with name and type.
        """
        columns = [{"name": name, "type": kind} for name, kind in self.columns]
        derived = {name: getattr(self, name) for name in self.DERIVED}
        return {**asdict(self), "columns": columns, **derived}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> LoadReport:
        """Return the report of a JSON document; keys that this Millrace does not know are left out."""
        values = {field.name: document[field.name] for field in fields(cls) if field.name in document}
        return cls(
            **{
                **values,
                **{name: tuple(values.get(name, ())) for name in ("missing", "schema_changes")},
                "columns": tuple((column["name"], column["type"]) for column in values.get("columns", ())),
                "warnings": tuple(SourceWarning(**warning) for warning in values.get("warnings", ())),
                "source_facts": SourceFacts.from_json(values.get("source_facts", {})),
            }
        )
