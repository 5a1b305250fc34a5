"""The part of ``ChunkCache`` that shows, pins and removes the versions in Redis."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, NamedTuple

from millrace.cache.connection import RedisConnection
from millrace.cache.keys import RedisKeys
from millrace.cache.ledger import Ledger
from millrace.cache.parts import CachedPart, version_name
from millrace.cache.pins import RENEW_S, new_holder
from millrace.cache.values import Form
from millrace.errors import UsageError
from millrace.parallel import Heartbeat
from millrace.settings import RedisSettings

if TYPE_CHECKING:
    from redis import Redis

_RELEASE_WAIT_S = 1.0


class CachedForms(NamedTuple):
    """The forms in which chunks of a dataset and of one of its versions are cached, raw before stored.

    ``of_dataset`` counts every version, because versions share chunks.
    """

    of_dataset: tuple[Form, ...] = ()
    of_version: tuple[Form, ...] = ()


class CachedVersions(RedisConnection):
    """The part of ``ChunkCache`` with the ledger. Methods that do not serve commands raise no errors of Redis."""

    def __init__(self, settings: RedisSettings, *, cluster: str, keyspace: str) -> None:
        super().__init__(settings)
        self._keys = RedisKeys(cluster, keyspace)
        self._ledger = Ledger(self._keys)
        self._heartbeats: weakref.WeakSet[Heartbeat] = weakref.WeakSet()

    # --- for readers

    def forms(self, dataset: str, version: str) -> CachedForms:
        """Return the forms in which chunks of the version may be cached; none if Redis is unreachable."""
        forms: list[tuple[str, str]] = self._call(self._ledger.forms, [])
        of_dataset = {form for name, form in forms if name.startswith(f"{dataset}@")}
        of_version = {form for name, form in forms if name == version_name(dataset, version)}
        return CachedForms(_ordered(of_dataset), _ordered(of_version))

    def pin(self, dataset: str, version: str) -> Heartbeat:
        """Return a context manager that keeps the version from being evicted while a job reads it.

        The pin expires by itself 60 seconds after its process died. A Redis that fails never raises an error.
        """
        name, holder = version_name(dataset, version), new_holder("job/")
        return self._heartbeat(
            lambda: self._call(lambda redis: self._ledger.pin(redis, name, holder), None),
            lambda: self._call(lambda redis: self._ledger.unpin(redis, name, holder), None),
        )

    def opened(self, dataset: str, version: str, job: str) -> None:
        """Record that a job opened a version. ``job`` is the same name in all processes of the job."""
        name = version_name(dataset, version)
        self._call(lambda redis: self._ledger.open(redis, name, job), None)

    # --- for commands

    def parts(self) -> list[CachedPart]:
        """Return the cached parts, sorted by version and form; raises ``CacheError`` when Redis does not respond."""
        return self._call_or_raise(self._ledger.parts)

    def pins(self) -> dict[str, list[str]]:
        """Return the holders of the pins of each pinned version; raises ``CacheError`` when Redis does not respond."""
        return self._call_or_raise(self._ledger.pins)

    def uses(self) -> dict[str, dict[str, float]]:
        """Return the jobs that opened each version in the last 7 days, with the seconds since then.

        Raises ``CacheError`` when Redis does not respond.
        """
        return self._call_or_raise(self._ledger.uses)

    def evict(self, dataset: str, version: str | None = None) -> int:
        """Remove a version in all its forms, or the whole dataset, and return the number of removed chunks.

        Chunks that another cached version shares stay. Raises ``UsageError`` for a pinned version, and ``CacheError``
        when Redis does not respond.
        """
        names = [part.name for part in self.parts() if part.dataset == dataset and version in (None, part.version)]
        pins = self.pins()
        for name in names:
            if name in pins:
                raise UsageError(
                    f"{name} is pinned by {len(pins[name])} jobs: {', '.join(pins[name])}",
                    hint="the pin ends with the job, or a minute after the job died",
                )

        def remove(redis: Redis) -> int:
            chunks = sum(self._drop(redis, name) for name in dict.fromkeys(names))
            return chunks + (self._ledger.delete_unlisted(redis, dataset) if version is None else 0)

        return self._call_or_raise(remove)

    # --- for deletions

    def remove_deleted(self, dataset: str, labels: Collection[str], *, unlisted: bool) -> bool:
        """Remove the versions of a dataset that are not among these visible ones, pinned ones, too.

        With ``unlisted`` also remove its values that no version has. Returns False when Redis is unreachable.
        """

        def remove(redis: Redis) -> bool:
            parts = [part for part in self._ledger.parts(redis) if part.dataset == dataset]
            for name in {part.name for part in parts if part.version not in labels}:
                self._drop(redis, name, even_pinned=True)
            if unlisted:
                self._ledger.delete_unlisted(redis, dataset)
            return True

        return self._call(remove, False, always=True)

    def _drop(self, redis: Redis, name: str, *, even_pinned: bool = False) -> int:
        return self._ledger.drop(redis, name, even_pinned=even_pinned) or 0

    # --- pins

    def _heartbeat(self, renew: Callable[[], None], release: Callable[[], None]) -> Heartbeat:
        heartbeat = Heartbeat(renew, release, renew_s=RENEW_S, name="millrace-pin")
        self._heartbeats.add(heartbeat)
        return heartbeat

    def close(self) -> None:
        """Release the pins of blocks that have ended, for at most a second, and close the connections.

        Afterwards every read misses.
        """
        for heartbeat in list(self._heartbeats):
            heartbeat.wait_released(_RELEASE_WAIT_S)
        super().close()


def _ordered(forms: Collection[str]) -> tuple[Form, ...]:
    return tuple(form for form in (Form.RAW, Form.STORED) if form in forms)
