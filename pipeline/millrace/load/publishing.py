"""Publish a version by writing the one row that makes it visible, and report the load."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from millrace.errors import ChunkError, LoadSupersededError, StoreError
from millrace.load.checks import check_complete, check_not_derived, promised_pages, published_before
from millrace.load.evolution import changes_since
from millrace.load.incremental_protocol import confirm
from millrace.load.incremental_steps import IncrementalSteps
from millrace.load.last_writes import record_last_writes
from millrace.load.loaded_files import added_files
from millrace.load.merge import merge_siblings
from millrace.load.plan import LoadPlan
from millrace.load.publish_protocol import publish_with_retry
from millrace.load.reject_version import own_rejects, publish_rejects, report_fields
from millrace.load.report import LoadReport
from millrace.load.report_parts import SourceFacts, StageTimes
from millrace.load.split_result import SplitResult
from millrace.load.version_reports import version_report
from millrace.load.version_row import VersionRowWriter, attempts_of, content_facts, no_check
from millrace.sources import SourceWarning, distinct
from millrace.store import (
    Catalogue,
    CatalogueWriter,
    ReplicatedWriter,
    Version,
    VersionGraph,
)


def publish(
    catalogue: Catalogue,
    catalogue_writer: CatalogueWriter,
    writes: ReplicatedWriter,
    plan: LoadPlan,
    results: Sequence[SplitResult],
    *,
    settings: Mapping[str, Any] | None = None,
    check_others: Callable[[VersionGraph], None] | None = None,
) -> LoadReport:
    """Publish the version of a plan and return the report of the load.

    Readers see either the whole version or none of it. Publishing the same plan again returns the same version.
    Versions that were published since the plan was made stay visible: see ``VersionGraph.base``.

    ``settings`` are further settings of the version. With ``inputs`` (full references by alias) the version is made
    from others, and its dataset is registered as such.

    ``check_others`` is called with the versions of other loads, before the version's row is written and after it. Its
    error makes the version invisible again. By default a version without ``inputs`` is refused if the latest one has
    some.

    Raises ``StoreError`` unless there is exactly one result for every split. Raises ``ChunkMissingError`` if a manifest
    page of a result is missing. Raises ``SourceTypeError`` if the data to append to was replaced by data with other
    columns. Raises ``VersionNotFoundError`` if the version or one of its inputs was deleted meanwhile. Raises
    ``LoadSupersededError`` if an incremental load and a concurrent one have loaded the same file, and the other one
    stays. After such an error the version is not visible. There is one exception: the data was replaced while the
    version's row was written.

    Raises ``StoreError`` also if concurrent appends have no types or paths in common, so that they cannot be merged.
    Then each of them stays a visible version. If the merge fails for another reason, the report has a warning instead,
    because the version is published.

    Rejects of the load are published first, as a version of their own. Raises ``BadRowsError`` if the bad rows exceed
    the budget; only the version of the rejects is visible then.
    """
    times, further = StageTimes(_load_seconds(results)), dict(settings or {})
    if check_others is None:
        check_others = no_check if further.get("inputs") else check_not_derived
    with times.stage("publish"):
        report = _publish(catalogue, catalogue_writer, writes, plan, results, further, check_others)
    return replace(report, stages=times.seconds)


def _load_seconds(results: Sequence[SplitResult]) -> dict[str, float]:
    """Return the seconds of the stage ``load``, from the start of its first split to the end of its last one."""
    spans = [result.span_s for result in results]
    return (
        {"load": round(max(0.0, max(end for _, end in spans) - min(start for start, _ in spans)), 3)} if spans else {}
    )


def _publish(
    catalogue: Catalogue,
    catalogue_writer: CatalogueWriter,
    writes: ReplicatedWriter,
    plan: LoadPlan,
    results: Sequence[SplitResult],
    further: Mapping[str, Any],
    check_others: Callable[[VersionGraph], None],
) -> LoadReport:
    ordered = sorted(results, key=lambda result: result.split)
    check_complete(plan, ordered)
    graph = VersionGraph(catalogue.all_versions(plan.dataset))
    # Before the pages: the error for a deleted version is more useful than the one for its missing pages.
    earlier = published_before(catalogue, plan, graph)
    own = [page for result in ordered for page in promised_pages(catalogue, plan, result)]
    if earlier is None:
        check_others(graph)
        rejects = publish_rejects(catalogue, catalogue_writer, writes, plan, ordered)
        settings = {"replays": plan.replays, "rejects": rejects}
        settings = {**{name: value for name, value in settings.items() if value}, **further}
        files = added_files(plan, ordered)
        steps = VersionRowWriter(
            catalogue, catalogue_writer, plan.dataset, plan, ordered, own, files, settings, check_others
        )
        plan, version, replicas = publish_with_retry(steps, plan, graph)
    else:
        version, replicas = earlier, 2
    rejected = report_fields(plan.dataset, own_rejects(graph.including(version), plan.hex, plan.run))
    warnings = plan.source.warnings
    confirm_version(catalogue, catalogue_writer, version, plan.hex)
    if plan.appends:
        version, not_merged = _merged(catalogue, catalogue_writer, version)
        warnings = (*not_merged, *warnings)
    if record_last_writes(catalogue, catalogue_writer, writes, version, attempts_of(ordered)):
        replicas = 1
    # The stored records include missing replicas of a resumed attempt and exclude data repaired meanwhile.
    records = catalogue.under_replicated(plan.dataset, {page.attempt_id for page in own} | {version.attempt_id})
    return version_report(
        catalogue,
        version,
        own,
        records,
        replicas=replicas,
        run=plan.run,
        mode=plan.mode,
        parent=plan.parent,
        retries=sum(result.retries for result in ordered) + writes.stats.retries,
        splits=len(ordered),
        source=plan.source.uri,
        source_facts=_source_facts(plan, ordered, graph),
        warnings=distinct(warnings),
        schema_changes=changes_since(catalogue, plan.parent, version),
        **rejected,
    )


def confirm_version(catalogue: Catalogue, catalogue_writer: CatalogueWriter, version: Version, hexpart: str) -> None:
    """Confirm the version if it is incremental and not a later version that contains the one of this hex.

    Raises as ``confirm`` does. If a rival prevails, the appends that are not merged yet are merged first. Otherwise
    they would supersede the next run, too, which selects its files by one of them.
    """
    if version.mode != "incremental" or version.hex != hexpart:
        return
    try:
        confirm(IncrementalSteps(catalogue, catalogue_writer, version.dataset), version)
    except LoadSupersededError:
        with suppress(ChunkError, StoreError):  # the next run or repair merges them
            if (latest := VersionGraph(catalogue.all_versions(version.dataset)).latest) is not None:
                merge_siblings(catalogue, catalogue_writer, latest)
        raise


def _source_facts(plan: LoadPlan, results: Sequence[SplitResult], graph: VersionGraph) -> SourceFacts:
    """Return the facts of the plan's source, and those that differ from its parent's if the parent is in ``graph``."""
    parent = next((version for version in graph.versions if version.label == plan.parent), None)
    facts = {**plan.source.facts(), **content_facts(plan.source, results)}
    return SourceFacts.of(facts, None if parent is None else parent.source)


def _merged(
    catalogue: Catalogue, catalogue_writer: CatalogueWriter, version: Version
) -> tuple[Version, tuple[SourceWarning, ...]]:
    """Return the version that holds all concurrent appends; the same version and a warning if the merge failed."""
    try:
        return merge_siblings(catalogue, catalogue_writer, version), ()
    except (ChunkError, StoreError) as error:
        if isinstance(error, StoreError) and not error.retriable:
            raise
        message = (
            f"{version.reference} is published, but is not merged with concurrent appends ({error.message}); "
            f"millrace repair {version.dataset} merges them, or the next append does"
        )
        return version, (SourceWarning("not_merged", message),)
