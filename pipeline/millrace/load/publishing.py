"""Publish a version by writing the one row that makes it visible, and report the load."""

from __future__ import annotations

from collections.abc import Sequence

from millrace.errors import ChunkError, StoreError
from millrace.load.checks import check_complete, promised_pages, published_before
from millrace.load.last_writes import record_last_writes
from millrace.load.merge import merge_siblings
from millrace.load.plan import LoadPlan
from millrace.load.publish_protocol import publish_with_retry
from millrace.load.reject_version import own_rejects, publish_rejects, report_fields
from millrace.load.report import LoadReport, version_report
from millrace.load.split import SplitResult
from millrace.load.version_row import VersionRowWriter, attempts_of
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
) -> LoadReport:
    """Publish the version of a plan and return the report of the load.

    Readers see either the whole version or none of it. Publishing the same plan again returns the same version.
    Versions that were published since the plan was made stay visible: see ``VersionGraph.base``.

    Raises ``StoreError`` unless there is exactly one result for every split. Raises ``ChunkMissingError`` if a manifest
    page of a result is missing. Raises ``SourceTypeError`` if the data to append to was replaced by data with other
    columns. Raises ``VersionNotFoundError`` if the version was deleted meanwhile. After such an error the version is
    not visible. There is one exception: the data was replaced while the version's row was written.

    Raises ``StoreError`` also if concurrent appends have no types or paths in common, so that they cannot be merged.
    Then each of them stays a visible version. If the merge fails for another reason, the report has a warning instead,
    because the version is published.

    Rejects of the load are published first, as a version of their own. Raises ``BadRowsError`` if the bad rows exceed
    the budget; only the version of the rejects is visible then.
    """
    ordered = sorted(results, key=lambda result: result.split)
    check_complete(plan, ordered)
    graph = VersionGraph(catalogue.all_versions(plan.dataset))
    # Before the pages: the error for a deleted version is more useful than the one for its missing pages.
    earlier = published_before(catalogue, plan, graph)
    own = [page for result in ordered for page in promised_pages(catalogue, plan, result)]
    if earlier is None:
        rejects = publish_rejects(catalogue, catalogue_writer, writes, plan, ordered)
        settings = {"replays": plan.replays, "rejects": rejects}
        settings = {name: value for name, value in settings.items() if value}
        steps = VersionRowWriter(catalogue, catalogue_writer, plan.dataset, plan.source, ordered, own, settings)
        plan, version, replicas = publish_with_retry(steps, plan, graph)
    else:
        version, replicas = earlier, 2
    rejected = report_fields(plan.dataset, own_rejects(graph.including(version), plan.hex, plan.run))
    warnings = plan.source.warnings
    if plan.mode == "append":
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
        warnings=distinct(warnings),
        **rejected,
    )


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
