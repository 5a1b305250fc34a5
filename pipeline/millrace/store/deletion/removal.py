"""Remove deleted versions and unreferenced data: they are marked first and removed after a grace time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from millrace.errors import (
    ChunkError,
    ChunkMissingError,
    InvalidSettingError,
    StoreError,
    StoreTimeoutError,
    StoreUnavailableError,
)
from millrace.names import check_dataset_name, parse_reference
from millrace.store.catalogue.catalogue import Catalogue
from millrace.store.catalogue.lineage import heads
from millrace.store.catalogue.not_found import dataset_not_found
from millrace.store.catalogue.version import Version
from millrace.store.cluster.session import CassandraSession
from millrace.store.deletion.sweep import GRACE, Sweeper, SweepReport
from millrace.store.deletion.undelete import Undeleter
from millrace.store.repair.replica_check import MissingReplica, ReplicaCheck

__all__ = ["Removal", "UndeleteReport"]


@dataclass(frozen=True, slots=True)
class UndeleteReport:
    """A version whose deletion was undone, or with ``dry_run`` can be."""

    dataset: str
    version: str
    deleted_at: datetime | None
    """When the version was deleted; None if the deletion had been undone before."""
    latest: bool
    """Whether it is the dataset's latest version now."""
    merges_with: tuple[str, ...]
    """Versions of appends to the same data that do not hold its rows: the next append or ``repair`` merges them."""
    dry_run: bool = False

    @property
    def reference(self) -> str:
        """Reference of the version, like ``flights@12-3fa9c1``."""
        return f"{self.dataset}@{self.version}"

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON: every field."""
        return asdict(self)


class Removal:
    """Marks, restores and removes versions.

    Every method raises ``StoreUnavailableError`` while a node is down; then nothing was marked or removed.
    """

    def __init__(self, cassandra: CassandraSession, catalogue: Catalogue) -> None:
        self._cassandra = cassandra
        self._catalogue = catalogue
        self._sweeper = Sweeper(cassandra, catalogue)
        self._undeleter = Undeleter(cassandra, catalogue)

    def delete(self, reference: str, *, whole: bool, now: bool, dry_run: bool) -> SweepReport:
        """Mark a version, or with ``whole`` every version of its dataset, as deleted.

        ``now`` also removes the data that is unreferenced then. Raises ``DatasetNotFoundError`` for an unknown dataset,
        and ``UsageError`` for tagged and leased versions, by name.
        """
        name, selector = parse_reference(reference)
        self._sweeper.require_all_up()
        versions = self._sweeper.visible(name) if whole else [self._catalogue.resolve(name, selector)]
        if not versions:
            raise dataset_not_found(name)
        return self._mark(name, versions, now=now, dry_run=dry_run)

    def prune(self, name: str, keep: int, *, now: bool, dry_run: bool) -> SweepReport:
        """Mark all but the newest ``keep`` versions as deleted; older tagged and leased versions are kept as well.

        Appends that are not merged with concurrent ones yet are kept too, because no other version holds their rows.
        """
        if keep < 1:
            raise InvalidSettingError(f"--keep is {keep}", hint="keep at least 1; millrace delete removes a dataset")
        self._sweeper.require_all_up()
        held = self._sweeper.held(check_dataset_name(name))
        visible = self._sweeper.visible(name)
        if not visible:
            raise dataset_not_found(name)
        unmerged = {head.label for head in heads(self._sweeper.all_versions(name), visible[0])}
        versions = [v for v in visible[keep:] if (v.number, v.hex) not in held and v.label not in unmerged]
        return self._mark(name, versions, now=now, dry_run=dry_run)

    def undelete(self, reference: str, *, dry_run: bool) -> UndeleteReport:
        """Make a deleted version visible again; raise as ``Undeleter.find`` and ``Undeleter.restore`` do."""
        name, selector = parse_reference(reference)
        found = self._undeleter.find(name, selector)
        if not dry_run:
            self._undeleter.restore(found)
        every = self._undeleter.all_versions(name)
        after = [replace(v, deleted_at=None) if v.label == found.label else v for v in every]
        latest = next(version for version in after if version.deleted_at is None)
        return UndeleteReport(
            dataset=name,
            version=found.label,
            deleted_at=found.deleted_at,
            latest=latest.label == found.label,
            merges_with=_merging(after, latest, found.label),
            dry_run=dry_run,
        )

    def fsck(self, *, delete: bool, now: bool) -> tuple[SweepReport, list[MissingReplica]]:
        """Return a report of unreferenced data, and the replicas missing of referenced data.

        Only with ``delete`` is unreferenced data past its grace time removed.
        """
        report = SweepReport(dry_run=not delete)
        self._sweeper.require_all_up()
        lacking: list[MissingReplica] = []
        for name in self._catalogue.names():
            lacking += self._lacking(name, report)
            self._sweep(name, report, now=now, dry_run=not delete)
        report.lacking = [lack.to_json() for lack in lacking]
        return report, lacking

    def _lacking(self, name: str, report: SweepReport) -> list[MissingReplica]:
        auditor = ReplicaCheck(self._cassandra, self._catalogue)
        visible = self._sweeper.visible(name)
        found = list(auditor.rows(name, visible[0])) if visible else []
        for version in reversed(visible):
            try:
                whole = self._catalogue.with_content(version)
                found += auditor.pages(whole)
                found += auditor.chunks(whole)
            except (ChunkError, ChunkMissingError) as error:  # no node has an intact copy
                report.problems.append(str(error))
        return found

    def _mark(self, name: str, versions: Sequence[Version], *, now: bool, dry_run: bool) -> SweepReport:
        report = SweepReport(dry_run=dry_run, final=self._undeleter.final(name, versions))
        report.marked = self._sweeper.mark(versions, dry_run=dry_run)
        if now and not dry_run:
            self._sweep(name, report, now=True, dry_run=False)
        return report

    def _sweep(self, name: str, report: SweepReport, *, now: bool, dry_run: bool) -> None:
        grace = timedelta(0) if now else GRACE
        garbage = self._sweeper.garbage(name, grace=grace)
        report.waiting += sum(not item.ripe for item in garbage)
        ripe = [item for item in garbage if item.ripe]
        report.garbage += [item.to_json() for item in garbage]
        if dry_run:
            return
        try:
            self._sweeper.remove(ripe, report, grace=grace)
        except (StoreUnavailableError, StoreTimeoutError):
            raise
        except StoreError as error:
            report.problems.append(str(error))
        else:
            self._sweeper.empty_deleted(name, grace=grace)


def _merging(every: Sequence[Version], latest: Version, label: str) -> tuple[str, ...]:
    """Return the other appends that the next append merges with the version of this label."""
    if latest.mode == "replace":
        return ()
    found = [version.label for version in heads(every, latest)]
    return tuple(other for other in found if other != label) if label in found else ()
