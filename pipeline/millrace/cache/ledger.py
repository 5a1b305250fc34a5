"""The ledger of the cache in Redis: cached parts, reserved memory, pins and uses. Methods raise the errors of redis-py.

Redis may lose the ledger at any time, alone or with the values. The values are then unlisted, and the next warming that
needs their memory deletes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from millrace.cache import scripts
from millrace.cache.keys import RedisKeys
from millrace.cache.memory import Room, limit_bytes, rounds_up
from millrace.cache.parts import Admission, CachedPart, pack_part, unpack_part
from millrace.cache.pins import PIN_S

if TYPE_CHECKING:
    from redis import Redis

Values = Mapping[str, int]
"""The values of one chunk: the rest of each key after the prefix, and the memory in bytes that the value uses."""
USED_S = 7 * 86_400.0
"""Seconds for which a job that opened a version counts as a use of it."""
_VALUES_AT_ONCE = 500


class Ledger:
    """The ledger of one keyspace."""

    def __init__(self, keys: RedisKeys) -> None:
        self._keys = keys

    def _run(self, redis: Redis, script: str, *arguments: Any) -> Any:
        # Redis keeps the compiled script, so its text costs only its 2 kB, and a restart of Redis needs no care.
        return redis.eval(script, 1, self._keys.prefix, *arguments)

    def parts(self, redis: Redis) -> list[CachedPart]:
        """Return the cached parts, sorted by version and form."""
        stored: dict[Any, Any] = redis.hgetall(self._keys.ledger("parts"))
        parts = (unpack_part(value) for value in stored.values())
        return sorted((part for part in parts if part is not None), key=lambda part: part.field)

    def forms(self, redis: Redis) -> list[tuple[str, str]]:
        """Return version and form of each cached part."""
        fields: list[Any] = redis.hkeys(self._keys.ledger("parts"))
        return [(words[0], words[1]) for field in fields if len(words := field.decode().split(" ")) > 1]

    # --- memory

    def room(self, redis: Redis) -> Room:
        """Return the limit of the memory, and the bytes that are neither used nor reserved nor kept for buffers."""
        info: dict[str, Any] = redis.info("memory")
        limit = limit_bytes(info)
        return Room(limit, int(self._run(redis, scripts.FREE, limit)), rounds_up(info))

    def reserve(
        self,
        redis: Redis,
        part: CachedPart,
        holder: str,
        chunks: Sequence[Values],
        limit: int,
        *,
        all_or_none: bool,
    ) -> Admission:
        """Reserve memory for the first chunks of a part that fit; with ``all_or_none`` for all of them or none."""
        each = (" ".join(f"{value}={size}" for value, size in values.items()) for values in chunks)
        facts = (part.name, part.field, pack_part(part), holder, PIN_S, limit, int(all_or_none))
        admitted, needed, free, reserved = map(int, self._run(redis, scripts.RESERVE, *facts, *each))
        return Admission(admitted, needed, free, reserved, limit)

    def stored(self, redis: Redis, name: str, values: Iterable[str]) -> None:
        """Release the reservation of values that were stored."""
        self._run(redis, scripts.STORED, name, *values)

    def release(self, redis: Redis, name: str, holder: str, part: CachedPart | None) -> None:
        """End a warming, and record the part if it is complete."""
        self._run(redis, scripts.RELEASE, name, holder, *([part.field, pack_part(part)] if part else []))

    def abandon(self, redis: Redis, part: CachedPart, values: Sequence[str]) -> None:
        """Remove a part and the values that its warming added, unless another version has them."""
        for group in chain([[]], _groups(values)):
            self._run(redis, scripts.ABANDON, part.name, part.field, *group)

    # --- values

    def are_stored(self, redis: Redis, name: str, values: Sequence[str]) -> bool:
        """Return whether a warming of the version has stored all of these values."""
        sizes: list[Any] = redis.hmget(self._keys.ledger(f"content:{name}"), values) if values else []
        return all(size is not None and int(size) > 0 for size in sizes)

    def contents(self, redis: Redis, names: Sequence[str]) -> list[dict[str, int]]:
        """Return the values of each of these versions with their memory in bytes."""
        pipeline = redis.pipeline(transaction=False)
        for name in names:
            pipeline.hgetall(self._keys.ledger(f"content:{name}"))
        return [{value.decode(): abs(int(size)) for value, size in each.items()} for each in pipeline.execute()]

    def drop(self, redis: Redis, name: str, *, even_pinned: bool) -> int | None:
        """Remove a version and the values that no other version has; return the number of chunks, None if pinned."""
        chunks = int(self._run(redis, scripts.DROP, name, int(even_pinned)))
        return None if chunks < 0 else chunks

    def delete_unlisted(self, redis: Redis, dataset: str | None = None) -> int:
        """Delete the values that no version has, of one dataset or of all; return the number of their chunks."""
        deleted = 0
        for pattern in self._keys.all_values(dataset):
            values = (self._keys.value(key.decode()) for key in redis.scan_iter(match=pattern, count=1000))
            for group in _groups(values):
                by_dataset: dict[str, list[str]] = {}
                for value in group:
                    by_dataset.setdefault(value.split(":")[1], []).append(value)
                for owner, owned in by_dataset.items():
                    deleted += int(self._run(redis, scripts.DELETE_UNLISTED, owner, *owned))
        return deleted

    # --- pins and uses

    def pin(self, redis: Redis, name: str, holder: str) -> None:
        """Pin a version, or renew its pin."""
        self._run(redis, scripts.TOUCH, "pins", PIN_S, f"{name} {holder}")

    def unpin(self, redis: Redis, name: str, holder: str) -> None:
        """Remove a pin."""
        redis.zrem(self._keys.ledger("pins"), f"{name} {holder}")

    def pins(self, redis: Redis) -> dict[str, list[str]]:
        """Return the holders of the pins of each pinned version."""
        holders: dict[str, list[str]] = {}
        for (name, holder), _ in self._members(redis, "pins"):
            holders.setdefault(name, []).append(holder)
        return holders

    def open(self, redis: Redis, name: str, job: str) -> None:
        """Record that a job uses a version."""
        self._run(redis, scripts.TOUCH, "opened", USED_S, f"{name} {job}")

    def uses(self, redis: Redis) -> dict[str, dict[str, float]]:
        """Return the jobs that opened each version, with the seconds since then."""
        jobs: dict[str, dict[str, float]] = {}
        for (name, job), left_s in self._members(redis, "opened"):
            jobs.setdefault(name, {})[job] = USED_S - left_s
        return jobs

    def _members(self, redis: Redis, kind: str) -> Iterator[tuple[list[str], float]]:
        """Yield the two parts of each member of a sorted set, and the seconds until it expires."""
        reply: Any = redis.time()
        now = reply[0] + reply[1] / 1e6
        members: Any = redis.zrange(self._keys.ledger(kind), f"({now}", "+inf", byscore=True, withscores=True)
        for member, expires in members:
            yield member.decode().split(" ", 1), expires - now


def _groups(values: Iterable[str]) -> Iterator[list[str]]:
    iterator = iter(values)
    while group := list(islice(iterator, _VALUES_AT_ONCE)):
        yield group
