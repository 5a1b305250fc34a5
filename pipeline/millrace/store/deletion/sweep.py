"""Delete versions: mark them first, and remove their data after a grace time.

Data is removed only when every replica agrees that no version in use references it.

A delete is never degraded. The catalogue is read at ``ALL`` and written at ``ALL``. While a replica is down every
operation here fails with one error line. Rows of ``versions`` are never removed, only emptied, so that no number and no
key is ever used again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from millrace.errors import ChunkMissingError, UsageError
from millrace.store.catalogue.version import DELETED, FENCED, LoadAttempt, Version
from millrace.store.cluster.write_times import future_tombstone_timestamp
from millrace.store.deletion.all_replicas import AllReplicas
from millrace.store.repair.repair import ALIVE

__all__ = ["GRACE", "Garbage", "SweepReport", "Sweeper"]

GRACE = timedelta(hours=24)
_PARTITIONS = ("pages", "under_replicated")


@dataclass(frozen=True, slots=True)
class Garbage:
    """The data of one attempt that no version references: whole partitions of chunks and the attempt's pages.

    ``buckets`` is the number of partitions of chunks. ``ripe`` is True once the data may be removed.
    """

    dataset: str
    attempt_id: UUID
    buckets: int
    run: str
    why: str
    ripe: bool
    """Whether the grace time is over, and no load that could still reference the data is active."""

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON-compatible values."""
        return {**asdict(self), "attempt_id": self.attempt_id.hex}


@dataclass(slots=True)
class SweepReport:
    """The findings and actions of a sweep."""

    marked: list[str] = field(default_factory=list)
    final: list[str] = field(default_factory=list)
    """Those of ``marked`` whose deletion cannot be undone even before anything is removed (``obstacle``)."""
    garbage: list[dict[str, Any]] = field(default_factory=list)
    lacking: list[dict[str, Any]] = field(default_factory=list)
    """Rows, pages and chunks that a version references and a node lacks. Those that another node has are on record for
    repair."""
    problems: list[str] = field(default_factory=list)
    """Reasons why data of a dataset was not removed."""
    waiting: int = 0
    removed_attempts: int = 0
    removed_partitions: int = 0
    dry_run: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON-compatible values."""
        return asdict(self)


class Sweeper(AllReplicas):
    """Operations that mark versions as deleted and remove the data that no version references any more."""

    doing = "deleting"
    undone = "nothing was deleted"

    def visible(self, dataset: str) -> list[Version]:
        """Return every visible version, newest first, read at ``ALL``."""
        return [version for version in self.every(dataset) if version.deleted_at is None]

    def mark(self, versions: Iterable[Version], *, dry_run: bool = False) -> list[str]:
        """Mark versions as deleted. Readers no longer see them; their data stays for the grace time.

        Refuses tagged and leased versions by name (``UsageError``) before anything is marked. Refuses everything
        (``StoreError``) while catalogue rows of the dataset are under-replicated.
        """
        self.require_all_up()
        wanted = list(versions)
        for dataset in {version.dataset for version in wanted}:
            self._require_none_under_replicated(dataset)
        for version in wanted:
            self._refuse_if_held(version)
        if not dry_run:
            for version in wanted:
                self._refuse_if_held(version)  # the first check may be seconds old
                self.write_mark(version, DELETED, datetime.now(UTC))
        return [version.reference for version in wanted]

    def garbage(self, dataset: str, *, grace: timedelta = GRACE) -> list[Garbage]:
        """Return the data of the dataset's load attempts that no version references; reads at ``ALL``."""
        self.require_all_up()
        now = datetime.now(UTC)
        rows = self._attempts(dataset)
        named, deleted = self._named(dataset)
        loading = _loading(rows, named | set(deleted), now)
        found = []
        for row in rows:
            since = _since(row, now)
            if row.attempt_id in named or (row.attempt_id not in deleted and row.run in loading):
                continue
            if row.attempt_id in deleted:
                # An active load may be an append to the version that was deleted a moment ago.
                ripe, why = now - deleted[row.attempt_id] >= grace and not loading, "its versions are deleted"
            else:
                ripe, why = since >= grace, f"no version names it, last seen {_ago(since)} ago"
            found.append(Garbage(dataset, row.attempt_id, row.buckets + 1, row.run, why, ripe))
        return found

    def _named(
        self, dataset: str, every: Sequence[tuple[Version, datetime | None]] | None = None
    ) -> tuple[set[UUID], dict[UUID, datetime]]:
        """Return the attempts that versions in use reference, and the other attempts with their deletion times.

        A version is in use while it is visible, tagged or leased. The other attempts are those of deleted versions. A
        attempt of several deleted versions has the time of the latest deletion.
        """
        named: set[UUID] = set()
        deleted: dict[UUID, datetime] = {}
        held = self.held(dataset)  # a tag may have been set at the moment of the deletion
        for version, deleted_at in self._every_version(dataset) if every is None else every:
            in_use = deleted_at is None or (version.number, version.hex) in held
            try:
                whole = self._catalogue.whole(version)
                attempts = {page.attempt_id for page in self._catalogue.page_refs(whole)}
            except ChunkMissingError:
                if in_use:
                    raise
                continue  # an interrupted sweep has already deleted its lists
            attempts |= {version.attempt_id, *self._catalogue.spilled(whole)}
            if in_use or deleted_at is None:
                named |= attempts
            else:
                deleted |= {attempt_id: max(deleted_at, deleted.get(attempt_id, deleted_at)) for attempt_id in attempts}
        return named, {attempt_id: at for attempt_id, at in deleted.items() if attempt_id not in named}

    def remove(self, garbage: Iterable[Garbage], report: SweepReport, *, grace: timedelta = GRACE) -> None:
        """Remove garbage as whole partitions at ``ALL``.

        The row in ``attempts`` is removed last, so that an interrupted removal is found again.

        Everything is fenced first and then looked up once more. A publisher, a resumed load and an undelete each check
        for the fence after they have written their own row. Of a sweep and one of these, at least one therefore sees
        the other.

        An attempt that turns out to be referenced stays fenced. Another sweep, which has read the versions before, may
        be         removing it, and a version that is published or restored now must see that.
        """
        items = list(garbage)
        for dataset in {item.dataset for item in items}:
            self._require_none_under_replicated(dataset)
        for item in items:
            self._fence(item)
        for dataset in {item.dataset for item in items}:
            still = {item.attempt_id for item in self.garbage(dataset, grace=grace) if item.ripe}
            for item in items:
                if item.dataset == dataset and item.attempt_id in still:
                    self._remove(item, report)

    def _fence(self, item: Garbage) -> None:
        query = "UPDATE {ks}.attempts USING TIMESTAMP ? SET try_number = ? WHERE dataset = ? AND attempt_id = ?"
        self._execute(query, (future_tombstone_timestamp(), FENCED, item.dataset, item.attempt_id))

    def _remove(self, item: Garbage, report: SweepReport) -> None:
        place = (future_tombstone_timestamp(), item.dataset, item.attempt_id)
        for bucket in range(item.buckets):
            query = "DELETE FROM {ks}.chunks USING TIMESTAMP ? WHERE dataset = ? AND attempt_id = ? AND bucket = ?"
            self._execute(query, (*place, bucket))
            report.removed_partitions += 1
        for table in (*_PARTITIONS, "attempts"):
            query = f"DELETE FROM {{ks}}.{table} USING TIMESTAMP ? WHERE dataset = ? AND attempt_id = ?"  # noqa: S608 constant names
            self._execute(query, place)
        report.removed_attempts += 1

    def empty_deleted(self, dataset: str, *, grace: timedelta = GRACE) -> None:
        """Remove page lists, schema and pages of deleted versions whose grace time is over. Their keys stay taken.

        Only versions whose attempt is fenced or gone are emptied, because an undelete checks for that.
        """
        now = datetime.now(UTC)
        held = self.held(dataset)
        # Read the attempts first and then the versions, each only once. A version that is published in between or later
        # belongs to an attempt that is known here and that no version references. It counts as an active load.
        attempts = self._attempts(dataset)
        every = self._every_version(dataset)
        there = {row.attempt_id for row in attempts if not row.fenced}
        over: list[Version] = []
        kept: list[Version] = []
        for version, deleted_at in every:
            waits = deleted_at is None or now - deleted_at < grace or version.attempt_id in there
            stays = waits or (version.number, version.hex) in held
            (kept if stays else over).append(version)
        named, deleted = self._named(dataset, every) if over else (set(), {})
        if over and _loading(attempts, named | set(deleted), now):
            return  # an append to a version deleted just now shares its lists; the next sweep finds them again
        # Versions share page lists with their parents.
        shared = {attempt_id for version in kept if over for attempt_id in self._spilled(version)}
        for version in over:
            with suppress(ChunkMissingError):  # an interrupted sweep has already deleted its pages
                for attempt_id in self._spilled(version):
                    if attempt_id not in shared:
                        query = "DELETE FROM {ks}.pages USING TIMESTAMP ? WHERE dataset = ? AND attempt_id = ?"
                        self._execute(query, (future_tombstone_timestamp(), dataset, attempt_id))
            query = (
                "UPDATE {ks}.versions SET purged_at = ?, pages = null, arrow_schema = null "
                "WHERE dataset = ? AND number = ? AND hex = ?"
            )
            self._execute(query, (now, dataset, version.number, version.hex))

    def _spilled(self, version: Version) -> list[UUID]:
        return self._catalogue.spilled(self._catalogue.whole(version))

    def held(self, dataset: str) -> set[tuple[int, str]]:
        """Return number and hex of every version that has a tag or a reader's lease."""
        return {(number, hexpart) for number, hexpart, _ in self._tagged(dataset)} | self._leased(dataset)

    def _refuse_if_held(self, version: Version) -> None:
        key = (version.number, version.hex)
        tags = [tag for number, hexpart, tag in self._tagged(version.dataset) if (number, hexpart) == key]
        if tags:
            raise UsageError(
                f"{version.reference} has the tag {', '.join(tags)}",
                hint=f"millrace untag {version.dataset} {tags[0]} first",
                dataset=version.dataset,
                version=version.label,
            )
        if key in self._leased(version.dataset):
            raise UsageError(
                f"{version.reference} is being read",
                hint="try again when its readers are done (their leases run out by themselves)",
                dataset=version.dataset,
                version=version.label,
            )

    def _tagged(self, dataset: str) -> list[tuple[int, str, str]]:
        rows = self._rows("SELECT tag, number, hex FROM {ks}.tags WHERE dataset = ?", (dataset,))
        return [(row.number, row.hex, row.tag) for row in rows if row.number]

    def _leased(self, dataset: str) -> set[tuple[int, str]]:
        self._cassandra.drain()  # a reader of this process may be about to release its lease
        rows = self._rows("SELECT number, hex FROM {ks}.leases WHERE dataset = ?", (dataset,))
        return {(row.number, row.hex) for row in rows}

    def _every_version(self, dataset: str) -> list[tuple[Version, datetime | None]]:
        """Return every version that is not emptied yet, deleted ones too, with its deletion time or None."""
        return [
            (version, version.deleted_at)
            for version in self._catalogue.every_version(dataset, self._rows)
            if version.purged_at is None
        ]


def _loading(rows: Iterable[LoadAttempt], known: Set[UUID], now: datetime) -> set[str]:
    """Return the runs of attempts that no version references yet and that may still be active."""
    return {r.run for r in rows if r.attempt_id not in known and not r.fenced and _since(r, now) < ALIVE}


def _since(row: LoadAttempt, now: datetime) -> timedelta:
    return now - (row.last_seen or row.started)


def _ago(since: timedelta) -> str:
    hours = since.total_seconds() / 3600
    return f"{hours:.0f} h" if hours >= 1 else f"{since.total_seconds() / 60:.0f} min"
