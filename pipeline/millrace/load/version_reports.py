"""Make the load report of a published version, and the result of a load for its last event."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

import pyarrow as pa

from millrace.errors import StoreError
from millrace.load.append import selector_of
from millrace.load.columns import reported_columns
from millrace.load.lists import page_sums
from millrace.load.report import LoadReport
from millrace.load.report_parts import SourceFacts
from millrace.progress import fitting, short_text
from millrace.sources import SourceWarning
from millrace.store import Catalogue, PageRef, UnderReplicated, Version

_EVENT_TEXT_MAX: Final = 100
_EVENT_COLUMNS_BYTES_MAX: Final = 8_000
_EVENT_COLUMNS_OF_PREPARED_BYTES_MAX: Final = 4_000
"""Fewer, because the facts of a preparation need room, too."""
_EVENT_FACT_BYTES_MAX: Final = {"inputs": 3_000, "dropped": 1_500, "split_rows": 1_500}
_EVENT_CLASSES_MAX: Final = 8
_EVENT_CLASS_BYTES_MAX: Final = 1_500
_OUTCOME_FIELDS: Final = (
    *("dataset", "version", "kind", "mode", "rows", "total_rows", "raw_bytes", "stored_bytes", "rejected", "skipped"),
)


def outcome(report: LoadReport, schema: pa.Schema) -> dict[str, Any]:
    """Return the result of a load for its last event, from which the live page makes a table: JSON of at most 16 kB.

    ``columns`` holds name and type of the first columns, as many as fit; ``columns_total`` counts all of them. ``rows``
    and the bytes count the data that this load added; ``total_rows`` counts the rows of the version. The result of a
    preparation also has ``inputs``, ``rows_in``, ``dropped``, ``split_rows`` and ``class_rows``.
    """
    columns = reported_columns(
        schema,
        size_max=_EVENT_COLUMNS_BYTES_MAX if report.training is None else _EVENT_COLUMNS_OF_PREPARED_BYTES_MAX,
        size_of=lambda text: len(ascii(text)),  # in an event, a character outside ASCII takes up to twelve bytes
        to_text=partial(short_text, length_max=_EVENT_TEXT_MAX),
    )
    return {
        **{name: getattr(report, name) for name in _OUTCOME_FIELDS},
        **({} if report.training is None else _prepared_facts(report.training)),
        "columns": [list(pair) for pair in columns],
        "columns_total": len(schema),
    }


def _prepared_facts(training: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts of a preparation that the live page shows; of long ones the first parts."""
    splits: Mapping[str, Mapping[str, Any]] = training["splits"]
    facts = {
        "inputs": training["inputs"],
        "dropped": {short_text(reason, _EVENT_TEXT_MAX): rows for reason, rows in training["dropped"].items()},
        "split_rows": {name: figures["rows"] for name, figures in splits.items()},
    }
    fitted = {name: fitting(facts[name], bytes_max) for name, bytes_max in _EVENT_FACT_BYTES_MAX.items()}
    return {"rows_in": training["rows_in"], **fitted, "class_rows": _class_rows(training["classes"], splits)}


def _class_rows(classes: Sequence[Any] | None, splits: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the rows of each class in each split; empty without classes, and for many of them."""
    if not classes or len(classes) > _EVENT_CLASSES_MAX:
        return {}
    names = [short_text(str(each).lower() if isinstance(each, bool) else each, _EVENT_TEXT_MAX) for each in classes]
    rows = {name: dict(zip(names, figures["classes"], strict=True)) for name, figures in splits.items()}
    return fitting(rows, _EVENT_CLASS_BYTES_MAX)


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
        source_facts=SourceFacts.of(version.source),
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
