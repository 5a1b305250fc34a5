"""Find the data of load attempts that no version references."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from millrace.errors import ChunkMissingError
from millrace.store.catalogue.attempt import LoadAttempt
from millrace.store.catalogue.catalogue import Catalogue
from millrace.store.catalogue.version import Version
from millrace.store.deletion.all_replicas import AllReplicas
from millrace.store.deletion.rejects import REJECTS_ENDING
from millrace.store.repair.repair import ALIVE


@dataclass(frozen=True, slots=True)
class Garbage:
    """The data of one attempt that no version references: whole partitions of chunks and the attempt's pages.

    ``buckets`` is the number of partitions of chunks.
    """

    dataset: str
    attempt_id: UUID
    buckets: int
    run: str
    reason: str
    removable: bool
    """Whether the grace time is over, and no load that could still reference the data is active."""

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON-compatible values."""
        return {**asdict(self), "attempt_id": self.attempt_id.hex}


class GarbageSearch:
    """Search for garbage. Attempts, versions, tags and leases are read at ``ALL``.

    A load attempt counts as active for the time ``alive`` after it was last seen.
    """

    def __init__(self, catalogue: Catalogue, replicas: AllReplicas, *, alive: timedelta = ALIVE) -> None:
        self._catalogue = catalogue
        self._replicas = replicas
        self._alive = alive

    def find(self, dataset: str, grace: timedelta) -> list[Garbage]:
        """Return the data of the dataset's load attempts that no version references."""
        self._replicas.require_all_up()
        now = datetime.now(UTC)
        attempts = self._replicas.attempts(dataset)
        protected = self._replicas.protected_versions(dataset)  # a tag may have been set at the moment of the deletion
        referenced, deleted = self.references(self._replicas.versions_with_data(dataset), protected)
        active = self.active_runs(attempts, referenced | set(deleted), now)
        if dataset.endswith(REJECTS_ENDING):
            # Rejects are rarely written, so only the attempts of the load itself show that it is active.
            active |= self._loading(dataset.removesuffix(REJECTS_ENDING), now)
        garbage = []
        for attempt in attempts:
            age = _age(attempt, now)
            if attempt.attempt_id in referenced or (attempt.attempt_id not in deleted and attempt.run in active):
                continue
            if attempt.attempt_id in deleted:
                # An active load may be an append to the version that was deleted a moment ago.
                removable = now - deleted[attempt.attempt_id] >= grace and not active
                reason = "its versions are deleted"
            else:
                removable, reason = age >= grace, f"no version references it, last seen {_words(age)} ago"
            garbage.append(Garbage(dataset, attempt.attempt_id, attempt.buckets + 1, attempt.run, reason, removable))
        return garbage

    def _loading(self, dataset: str, now: datetime) -> set[str]:
        """Return the active runs of a dataset."""
        attempts = self._replicas.attempts(dataset)
        protected = self._replicas.protected_versions(dataset)
        referenced, deleted = self.references(self._replicas.versions_with_data(dataset), protected)
        return self.active_runs(attempts, referenced | set(deleted), now)

    def references(
        self, versions: Sequence[Version], protected: Set[tuple[int, str]]
    ) -> tuple[set[UUID], dict[UUID, datetime]]:
        """Return the attempts that versions in use reference, and the other attempts with their deletion times.

        A version is in use while it is visible, tagged or leased. The other attempts are those of deleted versions. An
        attempt of several deleted versions has the time of the latest deletion.
        """
        referenced: set[UUID] = set()
        deleted: dict[UUID, datetime] = {}
        for version in versions:
            in_use = version.deleted_at is None or (version.number, version.hex) in protected
            try:
                attempts = self._attempts_of(version)
            except ChunkMissingError:
                if in_use:
                    raise
                continue  # an interrupted sweep has already deleted its lists
            if in_use or version.deleted_at is None:
                referenced |= attempts
            else:
                time = version.deleted_at
                deleted |= {attempt_id: max(time, deleted.get(attempt_id, time)) for attempt_id in attempts}
        return referenced, {attempt_id: time for attempt_id, time in deleted.items() if attempt_id not in referenced}

    def _attempts_of(self, version: Version) -> set[UUID]:
        pages, content = self._catalogue.pages, self._catalogue.with_content(version)
        named = {page.attempt_id for page in pages.each_ref(content)}
        return {version.attempt_id, *named, *pages.stored_out_of_line(content)}

    def active_runs(self, attempts: Iterable[LoadAttempt], referenced: Set[UUID], now: datetime) -> set[str]:
        """Return the runs of attempts that no version references yet and that may still be active."""
        unreferenced = (attempt for attempt in attempts if attempt.attempt_id not in referenced and not attempt.fenced)
        return {attempt.run for attempt in unreferenced if _age(attempt, now) < self._alive}


def _age(attempt: LoadAttempt, now: datetime) -> timedelta:
    return now - (attempt.last_seen or attempt.started)


def _words(age: timedelta) -> str:
    hours = age.total_seconds() / 3600
    return f"{hours:.0f} h" if hours >= 1 else f"{age.total_seconds() / 60:.0f} min"
