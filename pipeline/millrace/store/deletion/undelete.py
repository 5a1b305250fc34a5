"""Undo a deletion: a version can be made visible again until a sweep begins to remove its data.

A sweep fences attempts first and then checks whether another process works on the dataset. ``Undelete`` inserts a row
in ``attempts`` first and then checks for fenced attempts. At least one of the two therefore sees the other, even if
either is interrupted at any step.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from millrace.errors import StoreError, UsageError, VersionNotFoundError
from millrace.names import VersionSelector
from millrace.store.catalogue.attempt import AttemptRole
from millrace.store.catalogue.catalogue import Catalogue
from millrace.store.catalogue.not_found import dataset_not_found
from millrace.store.catalogue.recoverable import UnrecoverableReason, unrecoverable_reason
from millrace.store.catalogue.selection import select
from millrace.store.catalogue.version import DELETED, RESTORED, Version
from millrace.store.cluster.write_times import future_tombstone_timestamp
from millrace.store.deletion.all_replicas import AllReplicas
from millrace.store.deletion.deleted_inputs import require_inputs
from millrace.store.repair.row_repair import repair_version_row


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
        """Return every field as JSON-compatible values."""
        return asdict(self)


class Undelete:
    """Search for deleted versions and their restoration; fails while a node is down."""

    def __init__(self, catalogue: Catalogue, replicas: AllReplicas) -> None:
        self._catalogue = catalogue
        self._replicas = replicas

    def find(self, dataset: str, selector: VersionSelector) -> Version:
        """Return the deleted version of that number, full name or time, or one that was already restored.

        Raises ``DatasetNotFoundError``, ``VersionNotFoundError`` with the reason for a version that cannot be restored,
        and ``UsageError`` for a version that is not deleted.
        """
        if selector.tag is not None or selector == VersionSelector():
            raise UsageError(
                f"{dataset}@{selector} names no deleted version",
                hint=f"write its number or full version after @; millrace versions {dataset} --deleted shows them",
                dataset=dataset,
            )
        versions = self._replicas.versions(dataset)
        if not versions:
            raise dataset_not_found(dataset)
        self._replicas.require_replicated_catalogue(dataset)
        if selector.as_of is not None:  # only an exact match, not the latest version at that time
            candidates = [version for version in versions if selector.is_shown_as(version.committed_at)]
        else:
            number = selector.number if selector.full is None else selector.full[0]
            candidates = [version for version in versions if version.number == number]
        attempts = self._replicas.attempts(dataset)
        recoverable = [
            version
            for version in candidates
            if version.deleted_at is not None and unrecoverable_reason(self._catalogue, version, attempts) is None
        ]
        match = select(recoverable, selector) or select(candidates, selector)
        if match is None:
            raise VersionNotFoundError(
                f"{dataset} never had a version {selector}",
                hint=f"millrace versions {dataset} --deleted shows the versions that can be restored",
                dataset=dataset,
                version=str(selector),
            )
        if match.deleted_at is None and match.mark != RESTORED:
            raise UsageError(f"{match.reference} is not deleted", dataset=dataset, version=match.label)
        if match.deleted_at is not None:
            self._require_recoverable(match)
        return match

    def final(self, dataset: str, versions: Iterable[Version]) -> list[str]:
        """Return those of these versions, visible or deleted, whose deletion cannot be undone."""
        attempts = self._replicas.attempts(dataset)
        return [v.reference for v in versions if unrecoverable_reason(self._catalogue, v, attempts) is not None]

    def restore(self, version: Version) -> None:
        """Make the version visible again. Repeated and concurrent calls have the same result.

        Raises ``VersionNotFoundError`` where a sweep has begun to remove the version, which then stays deleted. Raises
        it also where the version is deleted again at the same moment, and where one of its inputs is deleted.
        """
        self._replicas.require_all_up()
        if version.mark == RESTORED and self.final(version.dataset, [version]):
            return  # restored before, between two reads of a sweep: readers see it and its data is kept
        self._replicas.require_replicated_catalogue(version.dataset)
        # A node killed a moment after the publication may have lost the version's row. A mark alone would then make a
        # row without content there, which no record names.
        repair_version_row(self._replicas.cassandra, version)
        deleted_at = version.deleted_at or datetime.now(UTC)
        with self._registered_as_attempt(version):
            self._require_recoverable(version)
            self._replicas.write_mark(version, RESTORED, deleted_at)
            try:
                # This process may have been paused for longer than it counts as active.
                self._require_recoverable(version)
            except VersionNotFoundError:
                self._replicas.write_mark(version, DELETED, deleted_at)
                raise
        self._require_restored(next(v for v in self._replicas.versions(version.dataset) if v.label == version.label))

    def _require_restored(self, version: Version) -> None:
        """Raise ``VersionNotFoundError`` unless the version's row is marked as restored.

        A load may have withdrawn the version meanwhile, or another process may have deleted it again.
        """
        if version.mark == RESTORED:
            return
        self._require_recoverable(version)
        raise VersionNotFoundError(
            f"{version.reference} was deleted again at the same moment",
            hint=f"millrace undelete {version.reference} restores it",
            dataset=version.dataset,
            version=version.label,
        )

    def _reason(self, version: Version) -> UnrecoverableReason | None:
        return unrecoverable_reason(self._catalogue, version, self._replicas.attempts(version.dataset))

    def _require_recoverable(self, version: Version) -> None:
        """Raise ``VersionNotFoundError`` if the version cannot be restored, or one of its inputs is deleted."""
        if (reason := self._reason(version)) is not None:
            raise VersionNotFoundError(
                f"{version.reference} cannot be undeleted, because {reason.text}",
                hint=reason.hint,
                dataset=version.dataset,
                version=version.label,
            )
        require_inputs(self._replicas.versions, version, self._reason)

    @contextmanager
    def _registered_as_attempt(self, version: Version) -> Iterator[None]:
        """Register as an active attempt, so that a sweep keeps the data of deleted versions as during a load.

        A row that is left behind is garbage, which a sweep removes.
        """
        now, attempt_id = datetime.now(UTC), uuid4()
        query = (
            "INSERT INTO {ks}.attempts (dataset, attempt_id, run, role, try_number, version, started, last_seen) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        )
        run = f"undelete of {version.label}"
        try:
            self._replicas.execute(
                query, (version.dataset, attempt_id, run, AttemptRole.UNDELETE, 1, version.label, now, now)
            )
            yield
        finally:
            query = "DELETE FROM {ks}.attempts USING TIMESTAMP ? WHERE dataset = ? AND attempt_id = ?"
            with suppress(StoreError):  # the row then counts as active for some hours
                self._replicas.execute(query, (future_tombstone_timestamp(), version.dataset, attempt_id))
