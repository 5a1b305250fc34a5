"""Millrace itself as a contestant: it loads and reads through the same ``Store`` as every user."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from bench.places import CSV_PLACES, FILTER_PLACES, LOAD_PLACES, READ_PLACES
from bench.profile import timed
from millrace import connect
from millrace.load import LoadOptions, loader_memory
from millrace.sources import BadRowBudget, SourceOptions

__all__ = ["Load", "Prepare", "Read"]


class Load:
    """A contestant that loads a source as a new version, each time under a new run.

    ``bad_rows`` is the budget for bad rows, as in ``--max-bad-rows``.
    """

    def __init__(
        self,
        source: str,
        dataset: str,
        null_values: list[str] | None = None,
        column_types: Sequence[tuple[str, str]] = (),
        bad_rows: str | None = None,
    ) -> None:
        self._source, self._dataset = source, dataset
        nulls = None if null_values is None else tuple(null_values)
        self._options = LoadOptions(source=SourceOptions(null_values=nulls, column_types=tuple(column_types)))
        if bad_rows is not None:
            self._options = replace(self._options, bad_rows=BadRowBudget.of(bad_rows))
        self.places = CSV_PLACES if source.endswith(".csv") else LOAD_PLACES
        self._store = connect()

    def run(self) -> dict[str, Any]:
        """Load once; the time is from the call to the published version. ``rows`` count the rejected ones, too."""
        began = time.perf_counter()
        with loader_memory():  # as the command does
            report = self._store.load(self._dataset, self._source, self._options)
        seconds = time.perf_counter() - began
        return {
            "rows": report.rows + report.rejected,
            "rejected": report.rejected,
            "seconds": seconds,
            "chunks": report.chunks,
            "raw_bytes": report.raw_bytes,
            "stored_bytes": report.stored_bytes,
            "replicas": report.replicas,
        }

    def profile(self) -> dict[str, Any]:
        """Load once under timers."""
        with timed(self.places) as profile:
            facts = self.run()
        return {**facts, "profile": profile.to_json()}

    def close(self) -> None:
        """Disconnect."""
        self._store.close()


class Prepare:
    """A contestant that prepares the declared training data ``entry``, each time as a new version."""

    def __init__(self, entry: str) -> None:
        self._entry = entry
        self._store = connect()

    def run(self) -> dict[str, Any]:
        """Prepare once; the time is from the call to the published version. ``rows`` are those of the main input."""
        began = time.perf_counter()
        report = self._store.prepare(self._entry, force=True, warm=False)
        seconds = time.perf_counter() - began
        facts = report.training or {}
        return {
            "rows": facts["rows_in"],
            "seconds": seconds,
            "chunks": report.chunks,
            "spilled_bytes": facts["spilled_bytes"],
            "stages": dict(report.stages),
        }

    def close(self) -> None:
        """Disconnect."""
        self._store.close()


class Read:
    """A contestant that reads the latest version to a table: whole, some columns, or the rows with ``column < value``.

    ``value`` is a number in the column's own unit (for a timestamp, its seconds since 1970).
    """

    configuration = ("gzip, a cold Redis left out", "both nodes on the same cores")

    def __init__(self, dataset: str, columns: list[str] | None = None, below: list[Any] | None = None) -> None:
        self._store = connect()
        self._dataset, self._columns = dataset, columns
        self._filter = None
        if below is not None:
            kind = self._store.dataset(dataset).schema.field(below[0]).type
            self._filter = pc.field(below[0]) < pa.scalar(below[1], kind)
        self.places = READ_PLACES if self._filter is None else FILTER_PLACES

    def run(self) -> dict[str, Any]:
        """Read once; the time is from the name of the dataset to the table."""
        began = time.perf_counter()
        dataset = self._store.dataset(self._dataset)
        table = dataset.to_table(self._columns, self._filter)
        seconds = time.perf_counter() - began
        return {"rows": table.num_rows, "seconds": seconds, "arrow_bytes": table.nbytes, **dataset.stats.to_json()}

    def profile(self) -> dict[str, Any]:
        """Read once under timers."""
        with timed(self.places) as profile:
            facts = self.run()
        return {**facts, "profile": profile.to_json()}

    def close(self) -> None:
        """Disconnect."""
        self._store.close()
