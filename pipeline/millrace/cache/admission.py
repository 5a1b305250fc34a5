"""The part of ``ChunkCache`` that admits warmings: it reserves memory and evicts other versions where necessary."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from millrace.cache.cached_versions import CachedVersions
from millrace.cache.eviction import Candidate, victims
from millrace.cache.ledger import Values
from millrace.cache.memory import Room
from millrace.cache.parts import Admission, CachedPart
from millrace.cache.pins import new_holder
from millrace.cache.scripts import WARMING

if TYPE_CHECKING:
    from redis import Redis


class Warming:
    """A warming in progress. Its version is pinned and its memory reserved until the block or the process ends.

    ``chunks`` of the part may be cached, the first ones. ``reason`` says why not all of them, else it is empty.
    """

    def __init__(self, cache: CacheAdmission, part: CachedPart, holder: str, chunks: int, reason: str) -> None:
        self._call = cache._call
        self._ledger = cache._ledger
        self._part = part
        self._holder = holder
        self.chunks = chunks
        self.reason = reason

    def stored(self, values: Sequence[str]) -> None:
        """Release the reservation for one chunk, whose values are stored."""
        self._call(lambda redis: self._ledger.stored(redis, self._part.name, values), None)

    def complete(self, value_bytes: int) -> None:
        """Record that all admitted chunks are cached, with the bytes of their values."""
        part = replace(self._part, chunks=self.chunks, bytes=value_bytes, warmed_at=datetime.now(UTC))
        self._release(part)

    def abandon(self, values: Sequence[str]) -> None:
        """Remove the part and the values that this warming has added."""
        self._call(lambda redis: self._ledger.abandon(redis, self._part, values), None)
        self._release(None)

    def renew(self) -> None:
        """Renew the pin."""
        self._call(lambda redis: self._ledger.pin(redis, self._part.name, self._holder), None)

    def _release(self, part: CachedPart | None) -> None:
        self._call(lambda redis: self._ledger.release(redis, self._part.name, self._holder, part), None)

    def end(self) -> None:
        """Release the pin and what is still reserved."""
        self._release(None)


class CacheAdmission(CachedVersions):
    """The part of ``ChunkCache`` that admits warmings."""

    def room(self) -> Room | None:
        """Return the memory of Redis, or None if it is unreachable."""
        return self._call(self._ledger.room, None, always=True)

    @contextmanager
    def warming(self, part: CachedPart, chunks: Sequence[Values], room: Room) -> Iterator[Warming]:
        """Reserve memory for the first chunks of a part, and hold it for the ``with`` block.

        ``chunks`` may end after the first chunks that exceed Redis' memory limit. If not all chunks of the part fit,
        values that no version has and then unpinned versions are removed. If that is not enough, the first chunks that
        fit are admitted.
        """
        holder = new_holder(WARMING)
        admission = self._call(lambda redis: self._admit(redis, part, holder, chunks, room), None, always=True)
        if admission is None:
            yield Warming(self, part, holder, 0, f"the cache at {self._address} does not respond")
            return
        reason = f"{part.name} {admission}" if admission.chunks < part.total_chunks else ""
        warming = Warming(self, part, holder, admission.chunks, reason)
        if not admission.chunks:
            yield warming
            return
        with self._heartbeat(warming.renew, warming.end):
            yield warming

    def _admit(self, redis: Redis, part: CachedPart, holder: str, chunks: Sequence[Values], room: Room) -> Admission:
        reserve = partial(self._ledger.reserve, redis, part, holder, chunks, room.limit_bytes)
        admission = reserve(all_or_none=True)
        if admission.chunks < len(chunks) and self._ledger.delete_unlisted(redis):
            admission = reserve(all_or_none=True)
        if admission.chunks < len(chunks) == part.total_chunks and self._evict(redis, part, chunks, admission):
            admission = reserve(all_or_none=True)
        if admission.chunks < len(chunks):
            self._evict(redis, part, chunks, admission, for_share=True)
            admission = reserve(all_or_none=False)
        return admission

    def _evict(
        self,
        redis: Redis,
        part: CachedPart,
        chunks: Sequence[Values],
        admission: Admission,
        *,
        for_share: bool = False,
    ) -> bool:
        """Evict unpinned versions so that the part fits; evict none and return False if that is not enough.

        For a share of a part, evict as much as necessary of the versions that no job has opened for 7 days, and of
        other versions of the dataset.
        """
        candidates, others = self._candidates(redis, part)
        if for_share:
            stay = [each for each in candidates if each.name.partition("@")[0] != part.dataset and len(each.ages_s) > 1]
            candidates = [each for each in candidates if each not in stay]
            others += [each.values for each in stay]
        needed = {value for values in chunks for value in values}
        missing_bytes = admission.needed_bytes - admission.free_bytes
        names = victims(candidates, others, needed, missing_bytes, or_all=for_share)
        dropped = [self._ledger.drop(redis, name, even_pinned=False) for name in names]
        return any(chunks is not None for chunks in dropped)

    def _candidates(self, redis: Redis, part: CachedPart) -> tuple[list[Candidate], list[Mapping[str, int]]]:
        """Return the versions that may be evicted, and the values of those that may not."""
        parts, pins, uses = self._ledger.parts(redis), self._ledger.pins(redis), self._ledger.uses(redis)
        names = list(dict.fromkeys(each.name for each in parts))
        now = datetime.now(UTC)
        candidates: list[Candidate] = []
        others: list[Mapping[str, int]] = []
        for name, values in zip(names, self._ledger.contents(redis, names), strict=True):
            warmed = max(each.warmed_at or each.admitted_at for each in parts if each.name == name)
            ages_s = [max(0.0, (now - warmed).total_seconds()), *uses.get(name, {}).values()]
            if name == part.name or name in pins:
                others.append(values)
            else:
                candidates.append(Candidate(name, values, ages_s))
        return candidates, others
