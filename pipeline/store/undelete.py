"""Taking back a deletion: until a sweep begins to remove the data, a version can be made visible again.

A sweep condemns writers first and then asks whether somebody works on the dataset. ``Undeleter`` makes itself known as
a writer first and then looks for condemned ones. So of the two at least one sees the other, whenever either is stopped.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from uuid import uuid4

from pipeline.errors import StoreError, UsageError, VersionNotFoundError
from pipeline.names import VersionSelector
from pipeline.store.at_all import AtAll
from pipeline.store.selection import select
from pipeline.store.version import DELETED, PUBLISHER, RESTORED, WITHDRAWN, Version, after_any_clock

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
        if selector.as_of is not None:  # the newest one before a time is not what anybody means here
            every = [version for version in every if selector.is_shown_as(version.committed_at)]
        deleted = [version for version in every if version.mark == DELETED and version.purged_at is None]
        found = select(deleted, selector) or select(every, selector)
        if found is None:
            raise VersionNotFoundError(
                f"{dataset} never had a version {selector}",
                hint=f"millrace versions {dataset} --deleted shows what can be taken back",
                dataset=dataset,
                version=str(selector),
            )
        self._refuse(found)
        self._require_whole(found)
        return found

    def restore(self, version: Version) -> None:
        """Readers see the version again. Doing it twice, or at the same moment as somebody else, is the same.

        Raises ``VersionNotFoundError`` where a sweep has begun to remove it; then it stays deleted.
        """
        self.require_all_up()
        self._require_no_debt(version.dataset)
        deleted_at = version.deleted_at or datetime.now(UTC)
        with self._known_as_writer(version):
            self._require_whole(version)
            self.write_mark(version, RESTORED, deleted_at)
            try:
                self._require_whole(version)  # this process may have stood still for longer than it counts as alive
            except VersionNotFoundError:
                self.write_mark(version, DELETED, deleted_at)
                raise
        self._refuse(next(v for v in self.every(version.dataset) if v.label == version.label))

    def _refuse(self, version: Version) -> None:
        if version.mark == DELETED and version.purged_at is None:
            return
        if version.deleted_at is None and version.mark == RESTORED:
            return
        if version.deleted_at is None:
            raise UsageError(f"{version.reference} is not deleted", dataset=version.dataset, version=version.label)
        why, hint = "its data was removed", "load its source again"
        if version.mark == WITHDRAWN:
            why = "the load that published it withdrew it"
            hint = f"its rows are in another version, if they were all there: millrace versions {version.dataset}"
        elif version.purged_at is None:
            why = "an older Millrace marked it, and did not record whether its load had withdrawn it"
        raise VersionNotFoundError(
            f"{version.reference} cannot be taken back, {why}",
            hint=hint,
            dataset=version.dataset,
            version=version.label,
        )

    def _require_whole(self, version: Version) -> None:
        """Nothing that the version names is condemned or gone."""
        there = {row.writer for row in self._writers(version.dataset) if not row.condemned}
        named = {version.writer}
        if version.writer in there:
            named |= {page.writer for page in self._catalogue.page_refs(self._catalogue.whole(version))}
        if not named <= there:
            raise VersionNotFoundError(
                f"{version.reference} cannot be taken back, removing its data has begun",
                hint="load its source again",
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
        self._execute(query, (version.dataset, writer, run, PUBLISHER, 1, version.label, now, now))
        try:
            yield
        finally:
            query = "DELETE FROM {ks}.writers USING TIMESTAMP ? WHERE dataset = ? AND writer = ?"
            with suppress(StoreError):  # it counts as alive for some hours then
                self._execute(query, (after_any_clock(), version.dataset, writer))
