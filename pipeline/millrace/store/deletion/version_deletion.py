"""Mark versions as deleted, undo deletions, and remove unreferenced data after a grace time."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from millrace.errors import (
    ChunkError,
    InvalidSettingError,
    StoreError,
    StoreTimeoutError,
    StoreUnavailableError,
    VersionNotFoundError,
)
from millrace.names import check_dataset_name, parse_reference
from millrace.store.catalogue.catalogue import Catalogue
from millrace.store.catalogue.not_found import dataset_not_found
from millrace.store.catalogue.version import DELETED, Version
from millrace.store.catalogue.version_graph import VersionGraph
from millrace.store.cluster.session import CassandraSession
from millrace.store.deletion.all_replicas import AllReplicas
from millrace.store.deletion.marking import Marking, published_meanwhile, require_inputs_of_none, require_shown
from millrace.store.deletion.merging import merged_with
from millrace.store.deletion.rejects import REJECTS_ENDING, may_have_rejects, reject_label, unneeded_rejects
from millrace.store.deletion.report_removal import remove_reports
from millrace.store.deletion.sweep import GRACE, Sweep, SweepReport
from millrace.store.deletion.undelete import Undelete, UndeleteReport
from millrace.store.repair.repair import ALIVE
from millrace.store.repair.replica_check import MissingReplica, ReplicaCheck


class VersionDeletion:
    """Deletion of versions: marks, undeletes and sweeps.

    Every method raises ``StoreUnavailableError`` while a node is down; then nothing was marked or removed. A load
    attempt counts as active for the time ``alive`` after it was last seen.
    """

    def __init__(self, cassandra: CassandraSession, catalogue: Catalogue, *, alive: timedelta = ALIVE) -> None:
        self._cassandra = cassandra
        self._catalogue = catalogue
        self._replicas = AllReplicas(cassandra, "deleting", "nothing was deleted")
        self._sweeps = Sweep(catalogue, self._replicas, alive=alive)
        self._undeletes = Undelete(catalogue, AllReplicas(cassandra, "taking back a deletion"))
        self._marking = Marking(self._replicas, self._undeletes)

    def delete(
        self,
        reference: str,
        *,
        whole: bool,
        now: bool,
        dry_run: bool,
        with_derived: bool = False,
        shown: SweepReport | None = None,
    ) -> SweepReport:
        """Mark a version, or with ``whole`` every version of its dataset, as deleted.

        ``now`` also removes the data that is unreferenced then. Raises ``DatasetNotFoundError`` for an unknown dataset,
        and ``UsageError`` for tagged and leased versions and for inputs of other visible versions, by name.

        With ``with_derived``, every version that was made from these is deleted before them, and their tags are
        removed. Raises ``UsageError`` where the dry run ``shown`` lacks one of the versions or tags.
        """
        name, selector = parse_reference(reference)
        self._replicas.require_all_up()
        versions = self._visible(name) if whole else [self._catalogue.resolve(name, selector)]
        if not versions:
            raise dataset_not_found(name)
        lineage = self._replicas.lineage()
        derived = lineage.derived(version.reference for version in versions)
        if with_derived:
            versions = [version for layer in lineage.layers([*derived, *versions]) for version in layer]
        else:
            require_inputs_of_none(versions, derived)
        report = SweepReport(dry_run=dry_run)
        if with_derived:
            tags = {version.reference: self._replicas.tags(version) for version in versions}
            report.tags = {key: names for key, names in tags.items() if names}
            if shown is not None:
                require_shown(versions, report.tags, shown)
        if needed := self._delete(versions, report, now=now, untag=with_derived):
            raise published_meanwhile(needed)
        return report

    def prune(self, name: str, keep: int, *, now: bool, dry_run: bool) -> SweepReport:
        """Mark all but the newest ``keep`` versions as deleted; older tagged and leased versions are kept as well.

        Versions that a visible version was made from are kept, too, and are not counted. Appends that no merge holds
        yet are kept too, because no other version holds their rows. Rejects that a visible version names are kept, and
        for 90 days those that no version has named.
        """
        if keep < 1:
            raise InvalidSettingError(f"--keep is {keep}", hint="keep at least 1; millrace delete removes a dataset")
        self._replicas.require_all_up()
        held = self._replicas.held_versions(check_dataset_name(name))
        graph = VersionGraph(self._replicas.versions(name))
        if graph.latest is None:
            raise dataset_not_found(name)
        unmerged = {head.label for head in graph.heads(graph.latest.root)}
        first = graph.visible.index(graph.latest) + keep
        versions = [v for v in graph.visible[first:] if (v.number, v.hex) not in held and v.label not in unmerged]
        if name.endswith(REJECTS_ENDING):
            loads = self._replicas.versions(name.removesuffix(REJECTS_ENDING))
            versions = unneeded_rejects(loads, versions, datetime.now(UTC))
        report = SweepReport(dry_run=dry_run)
        self._delete(self._replicas.lineage().free(versions), report, now=now, prunes=name)
        return report

    def undelete(self, reference: str, *, dry_run: bool) -> UndeleteReport:
        """Make a deleted version visible again; raise as ``Undelete.find`` and ``Undelete.restore`` do."""
        name, selector = parse_reference(reference)
        match = self._undeletes.find(name, selector)
        if not dry_run:
            # The rejects come first: a visible version names only rejects that can be read.
            if (label := reject_label(match)) is not None:
                self._restore_rejects(name + REJECTS_ENDING, label)
            self._undeletes.restore(match)
        versions = self._replicas.versions(name)
        graph = VersionGraph(replace(v, deleted_at=None) if v.label == match.label else v for v in versions)
        return UndeleteReport(
            dataset=name,
            version=match.label,
            deleted_at=match.deleted_at,
            latest=graph.latest is not None and graph.latest.label == match.label,
            merges_with=merged_with(self._catalogue, graph, match),
            dry_run=dry_run,
        )

    def _restore_rejects(self, dataset: str, label: str) -> None:
        """Restore a version of rejects if it was deleted; do nothing if its data is removed already."""
        for version in self._replicas.versions(dataset):
            if version.label == label and version.deleted_at is not None:
                with suppress(VersionNotFoundError):
                    self._undeletes.restore(version)

    def fsck(self, *, delete: bool, now: bool) -> tuple[SweepReport, list[MissingReplica]]:
        """Return a report of unreferenced data, and the missing replicas of referenced data.

        With ``delete``, unreferenced data whose grace time is over is removed. A dataset of which no node has an intact
        copy of a row, page list or page is a problem in the report, and nothing of it is removed.
        """
        report = SweepReport(dry_run=not delete)
        self._replicas.require_all_up()
        missing: list[MissingReplica] = []
        for name in self._catalogue.names():
            try:
                missing += self._missing_replicas(name)
                self._sweep(name, report, now=now, dry_run=not delete)
            except (StoreUnavailableError, StoreTimeoutError):
                raise
            except (ChunkError, StoreError) as error:
                report.problems.append(str(error))
        report.missing = [replica.to_json() for replica in missing]
        return report, missing

    def _visible(self, dataset: str) -> list[Version]:
        return [version for version in self._replicas.versions(dataset) if version.deleted_at is None]

    def _missing_replicas(self, name: str) -> list[MissingReplica]:
        check = ReplicaCheck(self._cassandra, self._catalogue)
        visible = self._visible(name)
        missing = list(check.missing_rows(name, visible[0])) if visible else []
        for version in reversed(visible):
            content = self._catalogue.with_content(version)
            missing += check.missing_pages(content)
            missing += check.missing_chunks(content)
        return missing

    def _delete(
        self,
        versions: Sequence[Version],
        report: SweepReport,
        *,
        now: bool,
        untag: bool = False,
        prunes: str | None = None,
    ) -> list[Version]:
        """Delete the versions, and the rejects that their datasets need no longer; ``prunes`` is one of these datasets.

        Returns the versions that stay visible, because another version was made from them meanwhile. Without ``prunes``
        the rejects and all data stay then.
        """
        names = list(dict.fromkeys([*(v.dataset for v in versions), *([prunes] if prunes else [])]))
        for name in names:
            report.final += self._undeletes.final(name, [v for v in versions if v.dataset == name])
        needed = self._mark(versions, report, untag=untag)
        if needed and not prunes:
            return needed
        for name in list(names):
            deleted = [version for version in versions if version.dataset == name and version not in needed]
            if rejects := self._unneeded_rejects(name, deleted):
                names.append(name + REJECTS_ENDING)
                self._mark(rejects, report)
        if now and not report.dry_run:
            for name in names:
                self._sweep(name, report, now=True, dry_run=False)
        return needed

    def _unneeded_rejects(self, name: str, deleted: Sequence[Version]) -> list[Version]:
        """Return the versions of rejects that no version needs after these are deleted, and old unnamed ones.

        Tagged and leased ones are kept.
        """
        rejects = self._replicas.versions(name + REJECTS_ENDING) if may_have_rejects(name) else []
        if not rejects:
            return []
        now, labels = datetime.now(UTC), {version.label for version in deleted}
        versions = [
            replace(version, deleted_at=version.deleted_at or now, mark=DELETED) if version.label in labels else version
            for version in self._replicas.versions(name)
        ]
        unneeded = unneeded_rejects(versions, rejects, now)
        protected = self._replicas.protected_versions(name + REJECTS_ENDING) if unneeded else set()
        return [version for version in unneeded if (version.number, version.hex) not in protected]

    def prune_rejects(self, *, now: bool, dry_run: bool) -> SweepReport:
        """Mark as deleted the rejects of failed loads that are older than 90 days, of all datasets."""
        report = SweepReport(dry_run=dry_run)
        for rejects in (name for name in self._catalogue.names() if name.endswith(REJECTS_ENDING)):
            self._delete([], report, now=now, prunes=rejects.removesuffix(REJECTS_ENDING))
        return report

    def _mark(self, versions: Sequence[Version], report: SweepReport, *, untag: bool = False) -> list[Version]:
        """Mark versions as deleted, and return those that stay visible as in ``Marking.mark``.

        Raises as ``Marking.check`` does before anything is marked.
        """
        self._marking.check(versions, untag=untag)
        needed = [] if report.dry_run else self._marking.mark(versions, untag=untag)
        report.marked += [version.reference for version in versions if version not in needed]
        return needed

    def _sweep(self, name: str, report: SweepReport, *, now: bool, dry_run: bool) -> None:
        grace = timedelta(0) if now else GRACE
        garbage = self._sweeps.garbage(name, grace=grace)
        removable = [item for item in garbage if item.removable]
        report.waiting += len(garbage) - len(removable)
        report.garbage += [item.to_json() for item in garbage]
        if dry_run:
            return
        try:
            self._sweeps.remove(name, removable, report, grace=grace)
        except (StoreUnavailableError, StoreTimeoutError):
            raise
        except StoreError as error:
            report.problems.append(str(error))
        else:
            self._sweeps.empty_deleted(name, grace=grace)
            remove_reports(self._replicas, name)
