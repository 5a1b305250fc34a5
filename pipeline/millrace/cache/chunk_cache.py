"""Chunk cache in Redis: whole versions are added explicitly, and readers verify the checksums of cached chunks."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from millrace.cache.circuit import Circuit
from millrace.cache.client import is_out_of_memory, make_pool, probe, shown_address
from millrace.cache.entries import Admission, CacheEntry, pack_entry, unpack_entry
from millrace.cache.keys import RedisKeys, byte_ranges
from millrace.cache.memory import BUFFERS_BYTES, limit_bytes, rounds_up, value_cost_bytes, version_cost_bytes
from millrace.cache.values import cut_tiles, pipelined, read_ranges, read_whole
from millrace.compat.redis import Allocate, Read, Reply
from millrace.errors import CacheError
from millrace.settings import RedisSettings

if TYPE_CHECKING:
    from redis import Redis

    from millrace.store import ChunkRef


_log = logging.getLogger("millrace.cache")
_T = TypeVar("_T")
_KEYS_AT_ONCE = 500


class ChunkCache:
    """The cached chunks of one keyspace. A value in Redis is the stored tiles of one chunk, one after another.

    Methods do not raise errors of Redis, except ``ping`` and ``entries``, which serve interactive commands. When the
    cache is unreachable, slow or full, a read finds no chunk. The constructor does not connect; it raises
    ``InvalidSettingError`` for an invalid URL. After a failure Redis is not called for ``retry_after_s``. Values are
    not verified here, because the caller has the manifest's checksums. Connections are opened when needed, one for each
    active thread, and again after a fork. Logs to ``millrace.cache``, once for each outage.
    """

    def __init__(self, settings: RedisSettings, *, cluster: str, keyspace: str) -> None:
        self._pool = make_pool(settings)
        self._keys = RedisKeys(cluster, keyspace)
        self._address = shown_address(settings)
        self._circuit = Circuit(self._address, settings.retry_after_s, lambda: probe(self._pool))
        self._full_logged = False
        self._closed = threading.Event()

    def _client(self) -> Redis:
        from redis import Redis

        return Redis(connection_pool=self._pool)

    def _call(self, command: Callable[[Redis], _T], default: _T, *, always: bool = False) -> _T:
        """Return the result of the command, or ``default`` where Redis fails or its circuit is open.

        With ``always`` the command is sent although the circuit is open.
        """
        if self._closed.is_set() or not (always or self._circuit.allows()):
            return default
        try:
            return command(self._client())
        except Exception as error:  # noqa: BLE001  # any failure of the cache: the read continues without it
            if self._closed.is_set():  # ``close`` disconnected the connection while the client was using it
                return default
            if is_out_of_memory(error):
                self._log_full()
            else:
                self._circuit.failed(error)
            return default
        finally:
            if self._closed.is_set():
                # Closed during this call: a client that lost its connection may have opened a new one.
                self._pool.disconnect()

    def _log_full(self) -> None:
        if not self._full_logged:
            self._full_logged = True
            _log.warning("the cache at %s is full; chunks that do not fit are read from Cassandra", self._address)

    # --- chunks

    def get(
        self,
        chunk: ChunkRef,
        sizes: Sequence[int],
        tiles: Sequence[int] | None,
        *,
        allocate: Allocate = bytearray,
        on_other_size: Callable[[], None] = lambda: None,
    ) -> list[memoryview] | None:
        """Return the stored tiles (ascending indices; None: all), or None when not all of their bytes are cached.

        ``sizes`` are the stored bytes of each tile of the chunk, from its manifest. The tiles are in memory of
        ``allocate``. ``on_other_size`` is called if there is a value of another size.
        """
        key = self._keys.chunk(chunk)
        indices = range(len(sizes)) if tiles is None else tiles
        ranges = byte_ranges(sizes, indices)

        def read(redis: Redis) -> Read:
            if len(indices) == len(sizes):
                return read_whole(redis, [key], [sum(sizes)], allocate)
            return read_ranges(redis, key, ranges, allocate)

        parts = self._read(read, on_other_size)
        return None if parts is None else cut_tiles(parts, [sizes[tile] for tile in indices])

    def get_raw(
        self,
        chunk: ChunkRef,
        sizes: Sequence[int],
        tiles: Sequence[int],
        *,
        allocate: Allocate = bytearray,
        on_other_size: Callable[[], None] = lambda: None,
    ) -> list[memoryview] | None:
        """Return tiles in raw form, or None when not all of them are cached; ``sizes`` are the raw bytes of each."""
        keys = [self._keys.raw(chunk, tile) for tile in tiles]
        return self._read(
            lambda redis: read_whole(redis, keys, [sizes[tile] for tile in tiles], allocate), on_other_size
        )

    def _read(self, read: Callable[[Redis], Read], on_other_size: Callable[[], None]) -> list[memoryview] | None:
        missing: Read = (Reply.MISSING, [])
        reply, buffers = self._call(read, missing)
        if reply is Reply.OTHER_SIZE:
            on_other_size()
        return buffers if reply is Reply.COMPLETE else None

    def put_raw(self, chunk: ChunkRef, tiles: Mapping[int, Any]) -> bool:
        """Store tiles in raw form, by their indices; return False when Redis is unreachable or full."""

        def put(redis: Redis) -> bool:
            return all(redis.set(self._keys.raw(chunk, tile), memoryview(raw)) for tile, raw in tiles.items())

        return self._call(put, False)

    def put(self, chunk: ChunkRef, tiles: Sequence[Any], *, ttl_s: int | None = None) -> bool:
        """Store a whole chunk (its stored tiles, in order); return False when Redis is unreachable or full.

        With ``ttl_s`` the chunk expires after that time.
        """
        key, value = self._keys.chunk(chunk), b"".join(tiles)
        return self._call(lambda redis: bool(redis.set(key, value, ex=ttl_s)), False)

    def has(self, chunks: Iterable[ChunkRef]) -> list[bool]:
        """Return for each chunk whether it is cached; all False when Redis is unreachable."""
        groups = (
            (keys, partial(pipelined, command="exists", keys=keys)) for keys in _groups(map(self._keys.chunk, chunks))
        )
        return [bool(count) for keys, exists in groups for count in self._call(exists, [0] * len(keys))]

    def delete(self, chunks: Iterable[ChunkRef]) -> int:
        """Delete chunks; return how many of them were cached."""
        return sum(self._call(partial(_unlink, keys=keys), 0) for keys in _groups(map(self._keys.chunk, chunks)))

    def delete_dataset(self, dataset: str) -> int:
        """Delete every chunk and entry of a dataset, of all its versions; return the number of chunks."""
        return self._call(lambda redis: self._delete_dataset(redis, dataset), 0)

    def _delete_dataset(self, redis: Redis, dataset: str) -> int:
        keys = redis.scan_iter(match=self._keys.all_chunks(dataset), count=1000)
        deleted = sum(_unlink(redis, group) for group in _groups(keys))
        for entry in self._read_entries(redis):
            if entry.dataset == dataset:
                redis.hdel(self._keys.entries, entry.name)
        return deleted

    # --- versions

    def admit(
        self, dataset: str, version: str, total_bytes: int, *, chunk_bytes: Sequence[int] | None = None
    ) -> Admission:
        """Decide whether the whole version fits into the free memory; if so, record it as being filled.

        ``total_bytes`` are its stored bytes, ``chunk_bytes`` those of each chunk (then the decision is exact). A
        version that was admitted before is admitted again if the rest of it fits.
        """
        refused = Admission(False, f"the cache at {self._address} does not respond")
        entry = CacheEntry(dataset, version, 0, total_bytes, datetime.now(UTC))
        return self._call(lambda redis: self._admit(redis, entry, chunk_bytes), refused, always=True)

    def _admit(self, redis: Redis, entry: CacheEntry, chunk_bytes: Sequence[int] | None) -> Admission:
        entries = {other.name: other for other in self._read_entries(redis)}
        mine = entries.pop(entry.name, None)
        info: dict[str, Any] = redis.info("memory")
        rounds = rounds_up(info)
        needed = version_cost_bytes(entry.bytes, chunk_bytes, rounds=rounds)
        if mine is not None:
            needed = max(0, needed - self._cached_bytes(redis, entry.dataset, rounds=rounds))
        limit, used = limit_bytes(info), int(info["used_memory"])
        filling = (other for other in entries.values() if other.is_filling(entry.admitted_at))
        reserved = sum(version_cost_bytes(other.bytes, rounds=rounds) for other in filling)
        free = limit - used - reserved - BUFFERS_BYTES
        if needed > free:
            return Admission(
                False,
                f"{entry.name} needs {needed:,} bytes of Redis, and {max(0, free):,} of {limit:,} are free"
                + (f" ({reserved:,} are reserved for versions being filled)" if reserved else ""),
                needed,
                free,
            )
        if mine is None:
            redis.hset(self._keys.entries, entry.name, pack_entry(entry))
        return Admission(True, "", needed, free)

    def _cached_bytes(self, redis: Redis, dataset: str, *, rounds: bool) -> int:
        """Return the memory in bytes of a dataset's cached chunks; a repeated fill does not need this memory again."""
        keys = list(redis.scan_iter(match=self._keys.all_chunks(dataset), count=1000))
        return sum(value_cost_bytes(size, rounds=rounds) for size in pipelined(redis, "strlen", keys))

    def warmed(self, dataset: str, version: str, *, chunks: int, stored_bytes: int) -> None:
        """Record that the whole version is cached."""
        now = datetime.now(UTC)
        entry = CacheEntry(dataset, version, chunks, stored_bytes, now, now)
        self._call(lambda redis: redis.hset(self._keys.entries, entry.name, pack_entry(entry)), None)

    def forget(self, dataset: str, version: str) -> None:
        """Remove a version from the entries; its chunks stay until they are deleted."""
        name = f"{dataset}@{version}"
        self._call(lambda redis: redis.hdel(self._keys.entries, name), None)

    def admitted(self, dataset: str, version: str) -> bool:
        """Return whether the version was admitted. Only then a read caches a chunk that is missing in Redis."""
        name = f"{dataset}@{version}"
        return bool(self._call(lambda redis: redis.hexists(self._keys.entries, name), False))

    def entries(self) -> list[CacheEntry]:
        """Return the admitted versions, sorted by name; raises ``CacheError`` when Redis does not respond."""
        return sorted(self._call_or_raise(self._read_entries), key=lambda entry: entry.name)

    def _read_entries(self, redis: Redis) -> list[CacheEntry]:
        stored: dict[Any, Any] = redis.hgetall(self._keys.entries)
        return [entry for value in stored.values() if (entry := unpack_entry(value)) is not None]

    # --- Redis itself

    def responds(self) -> bool:
        """Return whether Redis responds; each outage is logged once."""
        return self._call(lambda redis: bool(redis.ping()), False)

    def ping(self) -> dict[str, Any]:
        """Return address, version, ``used_memory``, ``maxmemory`` (bytes, 0: none) and eviction policy of Redis.

        Raises ``CacheError`` when Redis does not respond.
        """
        info: dict[str, Any] = self._call_or_raise(lambda redis: redis.info())
        return {
            "address": self._address,
            "version": info.get("redis_version", ""),
            "used_memory": int(info.get("used_memory", 0)),
            "maxmemory": int(info.get("maxmemory", 0)),
            "policy": info.get("maxmemory_policy", ""),
        }

    def _call_or_raise(self, command: Callable[[Redis], _T]) -> _T:
        try:
            return command(self._client())
        except Exception as error:  # noqa: BLE001  # also an incompatible client or server
            reason = " ".join(str(error).split()) or type(error).__name__
            raise CacheError(
                f"the cache at {self._address} does not respond ({reason})",
                hint="MILLRACE_REDIS__URL is its address; millrace doctor checks it",
                address=self._address,
            ) from None

    def close(self) -> None:
        """Close the connections; afterwards every read misses."""
        self._closed.set()
        self._pool.disconnect()


def _groups(keys: Iterator[str]) -> Iterator[list[str]]:
    while group := list(islice(keys, _KEYS_AT_ONCE)):
        yield group


def _unlink(redis: Redis, keys: Sequence[str]) -> int:
    return int(redis.unlink(*keys))
