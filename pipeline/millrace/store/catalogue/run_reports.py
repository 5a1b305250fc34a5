"""Keep the report of each run, and list the runs of each dataset.

Table ``reports`` has one row for each run, with the report as gzip of JSON. Table ``dataset_runs`` has one small row
for each run of a dataset, newest first. The report is written first, so a listed run has one.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from millrace.errors import StoreError
from millrace.store.catalogue.catalogue_writer import CatalogueWriter
from millrace.store.catalogue.row_reader import RowReader

REPORT_BYTES_MAX: Final = 64_000
"""Stored bytes of one report."""
_TEXT_CHARS_MAX: Final = 2_000
_SELECT_RUNS: Final = "SELECT started, run, state, version, rows, rejects FROM {ks}.dataset_runs WHERE dataset = ?"
_INSERTED: Final = ("dataset", "started", "run", "state", "version")


@dataclass(frozen=True, slots=True)
class DatasetRun:
    """One run that loaded a dataset or tried to.

    ``started`` is when its first report began. ``version`` is None and ``rows`` is 0 if the run has no version, else
    ``rows`` counts the rows of the version. ``rejects`` counts the bad rows that the run set aside.
    """

    dataset: str
    started: datetime
    run: str
    state: str
    version: str | None
    rows: int
    rejects: int


class RunReports:
    """Reader and writer of the reports of runs."""

    def __init__(self, reader: RowReader) -> None:
        self._reader = reader

    def write(
        self, catalogue_writer: CatalogueWriter, row: DatasetRun, document: Mapping[str, Any], *, ttl_s: int | None
    ) -> None:
        """Write the report of a run, in place of an earlier one of the same run.

        The row keeps the start of the earlier report, so a run that is repeated stays one row of its dataset. The last
        write wins: attempts of one run follow each other, and the last one knows how the run ended. A copy that a node
        missed is written by hinted handoff or by ``repair``. ``ttl_s`` is None for a report that never expires.
        """
        earlier = self._row(row.run)
        if earlier is not None and earlier.dataset == row.dataset:
            row = replace(row, started=earlier.started.replace(tzinfo=UTC))
        values = asdict(row)
        report = {name: values[name] for name in _INSERTED} | {"report": encode_report(document)}
        catalogue_writer.insert("reports", f"the report of {row.run}", report, ttl_s=ttl_s)
        catalogue_writer.insert("dataset_runs", f"the run {row.run} of {row.dataset}", values, ttl_s=ttl_s)

    def document(self, run: str) -> dict[str, Any] | None:
        """Return the report of a run, or None if there is none; raise ``StoreError`` if it is damaged."""
        row = self._row(run)
        if row is None or row.report is None:
            return None
        try:
            document: dict[str, Any] = json.loads(gzip.decompress(row.report))
        except (OSError, EOFError, ValueError, zlib.error) as error:
            raise StoreError(f"the report of the run {run!r} is damaged ({error})", run=run) from None
        return document

    def runs(self, dataset: str, *, at_most: int) -> list[DatasetRun]:
        """Return the newest runs of a dataset."""
        query = f"{_SELECT_RUNS} LIMIT {at_most:d}"
        return [
            DatasetRun(dataset, row.started.replace(tzinfo=UTC), *row[1:])
            for row in self._reader.rows(query, (dataset,))
        ]

    def _row(self, run: str) -> Any:
        rows = self._reader.rows("SELECT dataset, started, report FROM {ks}.reports WHERE run = ?", (run,)).items
        return rows[0] if rows else None


def encode_report(document: Mapping[str, Any]) -> bytes:
    """Return the report as gzip of JSON, in at most ``REPORT_BYTES_MAX`` bytes.

    Texts are cut at 2,000 characters. While the report is too large, its largest list is halved; no field is left out.
    ``cut`` then has the original length of each list that was cut.
    """
    bounded: dict[str, Any] = _short_texts(document)
    cut: dict[str, int] = {}
    while len(blob := _compressed({**bounded, "cut": cut})) > REPORT_BYTES_MAX:
        name = max(bounded, key=lambda name: len(json.dumps(bounded[name])) if isinstance(bounded[name], list) else 0)
        cut.setdefault(name, len(bounded[name]))
        bounded[name] = bounded[name][: len(bounded[name]) // 2]
    return blob


def _compressed(document: Mapping[str, Any]) -> bytes:
    return gzip.compress(json.dumps(document, ensure_ascii=False).encode("utf-8", "backslashreplace"), mtime=0)


def _short_texts(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= _TEXT_CHARS_MAX else f"{value[: _TEXT_CHARS_MAX - 3]}..."
    if isinstance(value, Mapping):
        return {name: _short_texts(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_short_texts(each) for each in value]
    return value
