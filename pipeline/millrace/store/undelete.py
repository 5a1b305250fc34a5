"""Taking back a deletion: until a sweep begins to remove the data, a version can be made visible again.

A sweep condemns writers first and then asks whether somebody works on the dataset. ``Undeleter`` makes itself known as
a writer first and then looks for condemned ones. So of the two at least one sees the other, whenever either is stopped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from uuid import uuid4

from millrace.errors import StoreError, UsageError, VersionNotFoundError
from millrace.names import VersionSelector
from millrace.store.at_all import AtAll
from millrace.store.recoverable import obstacle
from millrace.store.selection import select
from millrace.store.version import DELETED, PUBLISHER, RESTORED, Version, future_tombstone_timestamp

__all__ = ["Undeleter"]


class Undeleter(AtAll):
    """Finds what can be taken back, and takes it back; refused while a node is down."""

    doing = "taking back a deletion"

    def find(self, dataset: str, selector: VersionSelector) -> Version:
        """The deleted version of that number, full name or time; also one that was taken back already.

        Raises ``DatasetNotFoundError``, ``VersionNotFoundError`` for what cannot be taken back, with the reason, and
        ``UsageError`` for a version that is not deleted.
        """
        if selector.tag is not None or selector == VersionSelector():
            raise UsageError(
                f"{dataset}@{selector} names no deleted version",
                hint=f"after @ stands its number or full version; millrace versions {dataset} --deleted shows them",
                dataset=dataset,
            )
        every = self.every(dataset)
        if not every:
            raise self._catalogue.unknown(dataset)
        self._require_no_debt(dataset)
        if selector.as_of is not None:  # the newest one before a time is not what anybody means here
            every = [version for version in every if selector.is_shown_as(version.committed_at)]
        else:
            number = selector.number if selector.full is None else selector.full[0]
            every = [version for version in every if version.number == number]
        rows = self._writers(dataset)
        deleted = [version for version in every if version.deleted_at is not None]
        recoverable = [version for version in deleted if obstacle(self._catalogue, version, rows) is None]
        found = select(recoverable, selector) or select(every, selector)
        if found is None:
            raise VersionNotFoundError(
                f"{dataset} never had a version {selector}",
                hint=f"millrace versions {dataset} --deleted shows what can be taken back",
                dataset=dataset,
                version=str(selector),
            )
        if found.deleted_at is None and found.mark != RESTORED:
            raise UsageError(f"{found.reference} is not deleted", dataset=dataset, version=found.label)
        if found.deleted_at is not None:
            self._require_recoverable(found)
        return found

    def final(self, dataset: str, versions: Iterable[Version]) -> list[str]:
        """Those of these versions, visible or deleted, whose deletion cannot be taken back."""
        rows = self._writers(dataset)
        return [version.reference for version in versions if obstacle(self._catalogue, version, rows) is not None]

    def restore(self, version: Version) -> None:
        """Readers see the version again. Doing it twice, or at the same moment as somebody else, is the same.

        Raises ``VersionNotFoundError`` where a sweep has begun to remove it; then it stays deleted. Also where
        somebody deletes it again at the same moment.
        """
        self.require_all_up()
        if version.mark == RESTORED and self.final(version.dataset, [version]):
            return  # taken back before, between two reads of a sweep: readers see it, and nothing of it is removed
        self._require_no_debt(version.dataset)
        deleted_at = version.deleted_at or datetime.now(UTC)
        with self._known_as_writer(version):
            self._require_recoverable(version)
            self.write_mark(version, RESTORED, deleted_at)
            try:
                # This process may have stood still for longer than it counts as alive.
                self._require_recoverable(version)
            except VersionNotFoundError:
                self.write_mark(version, DELETED, deleted_at)
                raise
        self._require_restored(next(v for v in self.every(version.dataset) if v.label == version.label))

    def _require_restored(self, version: Version) -> None:
        """As its row is now: a load may have withdrawn it meanwhile, or somebody has deleted it again."""
        if version.mark == RESTORED:
            return
        self._require_recoverable(version)
        raise VersionNotFoundError(
            f"{version.reference} was deleted again at the same moment",
            hint=f"millrace undelete {version.reference} takes that back",
            dataset=version.dataset,
            version=version.label,
        )

    def _require_recoverable(self, version: Version) -> None:
        found = obstacle(self._catalogue, version, self._writers(version.dataset))
        if found is not None:
            raise VersionNotFoundError(
                f"{version.reference} cannot be taken back, {found.why}",
                hint=found.hint,
                dataset=version.dataset,
                version=version.label,
            )

    @contextmanager
    def _known_as_writer(self, version: Version) -> Iterator[None]:
        """A sweep leaves what deleted versions name while this lasts, as for a load; a row left behind is garbage."""
        now, writer = datetime.now(UTC), uuid4()
        query = (
            "INSERT INTO {ks}.writers (dataset, writer, run, split, attempt, version, started, last_seen) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        )
        run = f"undelete of {version.label}"
        try:
            self._execute(query, (version.dataset, writer, run, PUBLISHER, 1, version.label, now, now))
            yield
        finally:
            query = "DELETE FROM {ks}.writers USING TIMESTAMP ? WHERE dataset = ? AND writer = ?"
            with suppress(StoreError):  # it counts as alive for some hours then
                self._execute(query, (future_tombstone_timestamp(), version.dataset, writer))
