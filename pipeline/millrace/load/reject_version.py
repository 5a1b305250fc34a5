"""Judge the rejects of a load against its budget, and publish them as a version of the dataset of rejects.

The version of rejects is published before the version that names it. Its identity follows from the load, so a load that
is repeated publishes its rejects once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import pyarrow as pa

from millrace.errors import BadRowsError
from millrace.load.checks import promised_pages
from millrace.load.last_writes import record_last_writes
from millrace.load.plan import LoadPlan
from millrace.load.publish_protocol import publish_with_retry
from millrace.load.rejects import REJECT_CHUNKS, REJECT_LAYOUT, RejectResult
from millrace.load.split_result import SplitResult
from millrace.load.version_row import VersionRowWriter
from millrace.sources import REJECT_SCHEMA, REJECTS_ENDING, RowRules, load_schema_file, over_budget
from millrace.store import Catalogue, CatalogueWriter, ReplicatedWriter, Version, VersionGraph

READING_KEY: Final = b"millrace.reading"
"""The key of the schema's metadata that has everything needed to read the rejected rows again (docs/format.md)."""
_COUNTS: Final = ("bad", "discarded_rows", "discarded_values", "unstored")


def publish_rejects(
    catalogue: Catalogue,
    catalogue_writer: CatalogueWriter,
    writes: ReplicatedWriter,
    plan: LoadPlan,
    results: Sequence[SplitResult],
) -> dict[str, Any] | None:
    """Publish the rejects of all splits, and return the facts about them that the version of the load records.

    Returns None if nothing was rejected. Raises ``BadRowsError`` if the bad rows exceed the budget; the rejects are
    published then, too.
    """
    rejects = {result.split: result.rejects for result in results if result.rejects is not None}
    counts = {name: sum(getattr(reject, name) for reject in rejects.values()) for name in _COUNTS}
    if not any(counts.values()):
        return None
    rules = plan.source.rules
    rows = sum(result.rows for result in results) + counts["bad"] + counts["discarded_rows"]
    failed = not rules.budget.allows(counts["bad"], rows)
    publisher = _Publisher(catalogue, catalogue_writer, writes, plan)
    version = publisher.publish(rejects, counts, failed=failed)
    if failed:
        reasons = [reason for reject in rejects.values() for reason in reject.reasons][:10]
        raise _refusal(over_budget(counts["bad"], rows, rules, reasons), version, rules)
    return {"version": version and version.label, "rows": version.rows if version else 0, **counts}


def publish_rejects_of_split(
    catalogue: Catalogue,
    catalogue_writer: CatalogueWriter,
    writes: ReplicatedWriter,
    plan: LoadPlan,
    split: int | None,
    rejects: RejectResult,
    refusal: BadRowsError,
) -> BadRowsError:
    """Publish the rejects of a split that exceeds the budget of the load, and return the error that names them."""
    counts = {name: getattr(rejects, name) for name in _COUNTS}
    publisher = _Publisher(catalogue, catalogue_writer, writes, plan, part=f"split {split}")
    version = publisher.publish({-1 if split is None else split: rejects}, counts, failed=True)
    return _refusal(refusal, version, plan.source.rules)


def _refusal(error: BadRowsError, version: Version | None, rules: RowRules) -> BadRowsError:
    if version is None:
        return error
    hint = f"millrace read {version.reference} shows them; correct the rows or their types, or give --max-bad-rows more"
    return BadRowsError(error.message, hint=hint, **error.context, dataset=version.dataset, version=version.label)


class _Publisher:
    """Publisher of the rejects of one load; ``part`` is the part of the load that ended, empty for all of it."""

    def __init__(
        self,
        catalogue: Catalogue,
        catalogue_writer: CatalogueWriter,
        writes: ReplicatedWriter,
        plan: LoadPlan,
        *,
        part: str = "",
    ) -> None:
        self._catalogue = catalogue
        self._catalogue_writer = catalogue_writer
        self._writes = writes
        self._plan = plan
        self._part = part

    def publish(self, rejects: dict[int, RejectResult], counts: dict[str, int], *, failed: bool) -> Version | None:
        """Publish the version, or return the one that an earlier attempt at this load has published."""
        results = [_split_result(split, reject) for split, reject in rejects.items() if reject.attempt_id is not None]
        if not results:
            return None
        graph = VersionGraph(self._catalogue.all_versions(self._plan.dataset + REJECTS_ENDING))
        plan = self._reject_plan(list(rejects.values()), graph)
        if (earlier := graph.published(plan.hex, plan.run)) is not None:
            return earlier[1]
        pages = [page for result in results for page in promised_pages(self._catalogue, plan, result)]
        settings = {"rejects_of": {"version": self._plan.label, "failed": failed, **counts}}
        steps = VersionRowWriter(
            self._catalogue, self._catalogue_writer, plan.dataset, plan, results, pages, (), settings
        )
        version = publish_with_retry(steps, plan, graph).version
        attempts = {result.attempt_id for result in results}
        record_last_writes(self._catalogue, self._catalogue_writer, self._writes, version, attempts)
        return version

    def _reject_plan(self, rejects: Sequence[RejectResult], graph: VersionGraph) -> LoadPlan:
        plan = self._plan
        # Two replays of one version may have different options, and are one load nevertheless.
        options = json.dumps(plan.source.options.to_json()) if plan.replays else ""
        parts = "\0".join((plan.run, plan.fingerprint, self._part, options))
        identity = hashlib.sha256(parts.encode()).hexdigest()[:6]
        schema = REJECT_SCHEMA.with_metadata({READING_KEY: json.dumps(_reading(plan, rejects)).encode()})
        return replace(
            plan,
            dataset=plan.dataset + REJECTS_ENDING,
            mode="replace",
            number=graph.next_number,
            hex=identity,
            parent=None if graph.latest is None else graph.latest.label,
            source=replace(plan.source, kind="table", schema=schema),
            chunks=REJECT_CHUNKS,
            layout=REJECT_LAYOUT,
        )


def _reading(plan: LoadPlan, rejects: Sequence[RejectResult]) -> dict[str, Any]:
    """Return the format, the options and the columns of the files, with which the rejected rows can be read again."""
    headers: dict[tuple[str, ...], list[str]] = {}
    for reject in rejects:
        for columns, files in reject.headers:
            headers.setdefault(columns, []).extend(files)
    options = plan.source.options
    schema = None if options.schema_file is None else load_schema_file(options.schema_file)
    return {
        "format": plan.source.format,
        "options": options.to_json(),
        "schema_file": None if schema is None else schema.serialize().to_pybytes().hex(),
        "columns": plan.source.source_schema.names,
        # One header is that of every file.
        "headers": [[columns, files if len(headers) > 1 else []] for columns, files in headers.items()],
    }


def _split_result(split: int, rejects: RejectResult) -> SplitResult:
    if rejects.attempt_id is None:
        raise ValueError("the split has no rejects")
    return SplitResult(
        split=split,
        attempt_id=rejects.attempt_id,
        inherited=(),
        pages=rejects.pages,
        chunks=rejects.chunks,
        rows=rejects.rows,
        raw_bytes=rejects.raw_bytes,
        stored_bytes=rejects.stored_bytes,
        under_replicated=rejects.under_replicated,
        retries=rejects.retries,
        schema=REJECT_SCHEMA.serialize().to_pybytes(),
    )


def own_rejects(graph: VersionGraph, hexpart: str, run: str) -> dict[str, Any] | None:
    """Return the facts about the rejects of a load that its own version records, also where others hold its rows.

    Of several versions of the load, a merge keeps the rows of the oldest one.
    """
    versions = sorted(graph.of_load(hexpart, run), key=lambda version: (version.deleted_at is not None, version.number))
    return next((facts for version in versions if (facts := version.settings.get("rejects"))), None)


def report_fields(dataset: str, facts: dict[str, Any] | None) -> dict[str, Any]:
    """Return the fields of a load report for the facts that a version records of its rejects."""
    if not facts:
        return {}
    return {
        "rejected": facts["bad"],
        "discarded_rows": facts["discarded_rows"],
        "discarded_values": facts["discarded_values"],
        "rejects": facts["version"] and f"{dataset}{REJECTS_ENDING}@{facts['version']}",
    }


def schema_of_hex(text: str) -> pa.Schema:
    """Return the schema that ``_reading`` has stored."""
    return pa.ipc.read_schema(pa.py_buffer(bytes.fromhex(text)))
