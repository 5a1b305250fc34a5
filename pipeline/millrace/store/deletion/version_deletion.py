"""Mark versions as deleted, undo deletions, and remove unreferenced data after a grace time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

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
from millrace.store.deletion.rejects import REJECTS_ENDING, reject_label, unneeded_rejects
from millrace.store.deletion.report_removal import remove_reports
from millrace.store.deletion.sweep import GRACE, Sweep, SweepReport
from millrace.store.deletion.undelete import Undelete, UndeleteReport
from millrace.store.repair.repair import ALIVE
from millrace.store.repair.replica_check import MissingReplica, ReplicaCheck

_NAME_CHARACTERS_MAX: Final = 48


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

    def delete(self, reference: str, *, whole: bool, now: bool, dry_run: bool) -> SweepReport:
        """Mark a version, or with ``whole`` every version of its dataset, as deleted.

        ``now`` also removes the data that is unreferenced then. Raises ``DatasetNotFoundError`` for an unknown dataset,
        and ``UsageError`` for tagged and leased versions, by name.
        """
        name, selector = parse_reference(reference)
        self._replicas.require_all_up()
        versions = self._visible(name) if whole else [self._catalogue.resolve(name, selector)]
        if not versions:
            raise dataset_not_found(name)
        return self._delete(name, versions, now=now, dry_run=dry_run)

    def prune(self, name: str, keep: int, *, now: bool, dry_run: bool) -> SweepReport:
        """Mark all but the newest ``keep`` versions as deleted; older tagged and leased versions are kept as well.

        Appends that no merge holds yet are kept too, because no other version holds their rows. Rejects that a visible
        version names are kept, and for 90 days those that no version has named.
        """
        if keep < 1:
            raise InvalidSettingError(f"--keep is {keep}", hint="keep at least 1; millrace delete removes a dataset")
        self._replicas.require_all_up()
        protected = self._replicas.protected_versions(check_dataset_name(name))
        graph = VersionGraph(self._replicas.versions(name))
        if graph.latest is None:
            raise dataset_not_found(name)
        unmerged = {head.label for head in graph.heads(graph.latest.root)}
        first = graph.visible.index(graph.latest) + keep
        versions = [v for v in graph.visible[first:] if (v.number, v.hex) not in protected and v.label not in unmerged]
        if name.endswith(REJECTS_ENDING):
            loads = self._replicas.versions(name.removesuffix(REJECTS_ENDING))
            versions = unneeded_rejects(loads, versions, datetime.now(UTC))
        return self._delete(name, versions, now=now, dry_run=dry_run)

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
            merges_with=self._merged_with(graph, match),
            dry_run=dry_run,
        )

    def _merged_with(self, graph: VersionGraph, version: Version) -> tuple[str, ...]:
        """Return the heads of the latest line with which the next append or repair merges the version.

        An incremental version is not merged with one that has loaded its files again.
        """
        if graph.latest is None or graph.latest.mode == "replace":
            return ()
        heads = graph.heads(graph.latest.root)
        if version.label not in (head.label for head in heads):
            return ()
        loaded = self._loads(version) if version.mode == "incremental" else {}
        others = [head for head in heads if head.label != version.label]
        return tuple(head.label for head in others if not _loaded_apart(loaded, self._loads(head) if loaded else {}))

    def _loads(self, version: Version) -> dict[str, set[str]]:
        """Return for each file of the version's list the versions that added it."""
        loads: dict[str, set[str]] = {}
        for file in self._catalogue.pages.files(self._catalogue.with_content(version)):
            loads.setdefault(file.uri, set()).add(file.added_by)
        return loads

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

    def _delete(self, name: str, versions: Sequence[Version], *, now: bool, dry_run: bool) -> SweepReport:
        report = SweepReport(dry_run=dry_run, final=self._undeletes.final(name, versions))
        self._mark(name, versions, dry_run=dry_run)
        report.marked = [version.reference for version in versions]
        swept = [name]
        if rejects := self._unneeded_rejects(name, versions):
            swept.append(name + REJECTS_ENDING)
            self._mark(swept[-1], rejects, dry_run=dry_run)
            report.marked += [version.reference for version in rejects]
        if now and not dry_run:
            for dataset in swept:
                self._sweep(dataset, report, now=True, dry_run=False)
        return report

    def _unneeded_rejects(self, name: str, deleted: Sequence[Version]) -> list[Version]:
        """Return the versions of rejects that no version needs after these are deleted, and old unnamed ones.

        Tagged and leased ones are kept.
        """
        rejects = self._replicas.versions(name + REJECTS_ENDING) if _may_have_rejects(name) else []
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
            found = self._delete(rejects.removesuffix(REJECTS_ENDING), [], now=now, dry_run=dry_run)
            report.marked += found.marked
            report.problems += found.problems
            report.removed_attempts += found.removed_attempts
            report.removed_partitions += found.removed_partitions
        return report

    def _mark(self, name: str, versions: Sequence[Version], *, dry_run: bool) -> None:
        """Mark versions as deleted. Readers no longer see them; their data stays for the grace time.

        Refuses tagged and leased versions by name (``UsageError``) before anything is marked. Refuses everything
        (``StoreError``) while catalogue rows of the dataset are under-replicated.
        """
        self._replicas.require_all_up()
        if versions:
            self._replicas.require_replicated_catalogue(name)
        for version in versions:
            self._replicas.require_unprotected(version)
        for version in () if dry_run else versions:
            self._replicas.require_unprotected(version)  # the first check may be seconds old
            self._replicas.write_mark(version, DELETED, datetime.now(UTC))

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


def _may_have_rejects(name: str) -> bool:
    return not name.endswith(REJECTS_ENDING) and len(name) + len(REJECTS_ENDING) <= _NAME_CHARACTERS_MAX


def _loaded_apart(one: Mapping[str, set[str]], other: Mapping[str, set[str]]) -> bool:
    return any(one[uri] - other[uri] and other[uri] - one[uri] for uri in one.keys() & other.keys())
