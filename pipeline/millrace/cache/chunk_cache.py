"""Chunk cache in Redis: whole versions are added explicitly, and readers verify the checksums of cached chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, TypeVar

from millrace.cache.admission import CacheAdmission
from millrace.cache.keys import byte_ranges
from millrace.cache.ledger import Values
from millrace.cache.memory import Room
from millrace.cache.parts import version_name
from millrace.cache.values import Form, cut_tiles, pipelined, read_ranges, read_whole
from millrace.compat.redis import Allocate, Read, Reply

if TYPE_CHECKING:
    from redis import Redis

    from millrace.store import ChunkRef


_T = TypeVar("_T")
_KEYS_AT_ONCE = 500


class ChunkCache(CacheAdmission):
    """The cached chunks of one keyspace. A value in Redis is the stored tiles of one chunk, one after another.

    Methods do not raise errors of Redis, except ``ping``, ``parts``, ``pins``, ``uses`` and ``evict``, which serve
    commands. When the cache is unreachable, slow or full, a read finds no chunk. The constructor does not connect; it
    raises ``InvalidSettingError`` for an invalid URL. Values are not verified here, because the caller has the
    manifest's checksums.
    """

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

    def has(
        self, chunks: Iterable[ChunkRef], form: Form = Form.STORED, tiles: Sequence[int] | None = None
    ) -> list[bool]:
        """Return for each chunk whether it is cached, in the raw form these tiles of it (None: all).

        All are False when Redis is unreachable.
        """
        cached = []
        for group in _groups(chunks):
            keys = [self._value_keys(chunk, form, tiles) for chunk in group]
            every_key = list(chain.from_iterable(keys))
            exist = map(bool, self._call(partial(pipelined, command="exists", keys=every_key), [0] * len(every_key)))
            cached += [sum(islice(exist, len(of_chunk))) == len(of_chunk) for of_chunk in keys]
        return cached

    def delete(self, chunks: Iterable[ChunkRef]) -> int:
        """Delete chunks in their stored form; return how many of them were cached."""
        return sum(self._call(partial(_unlink, keys=keys), 0) for keys in _groups(map(self._keys.chunk, chunks)))

    # --- chunks in the ledger

    def values(self, chunk: ChunkRef, form: Form, tiles: Sequence[int] | None, room: Room) -> Values:
        """Return the names of a chunk's values in the ledger, and the memory in bytes that each of them needs."""
        names = self.value_names(chunk, form, tiles)
        if form is Form.STORED:
            return {name: room.cost_bytes(chunk.stored_bytes) for name in names}
        sizes = (chunk.tiles[tile].raw_bytes for tile in _tiles_of(chunk, tiles))
        return {name: room.cost_bytes(size) for name, size in zip(names, sizes, strict=True)}

    def value_names(self, chunk: ChunkRef, form: Form, tiles: Sequence[int] | None) -> list[str]:
        """Return the names of a chunk's values in the ledger."""
        return [self._keys.value(key) for key in self._value_keys(chunk, form, tiles)]

    def _value_keys(self, chunk: ChunkRef, form: Form, tiles: Sequence[int] | None) -> list[str]:
        if form is Form.STORED:
            return [self._keys.chunk(chunk)]
        return [self._keys.raw(chunk, tile) for tile in _tiles_of(chunk, tiles)]

    def is_admitted(self, version: str, chunk: ChunkRef, form: Form, tiles: Sequence[int] | None = None) -> bool:
        """Return whether a warming of the version has cached the chunk, in the raw form these tiles of it (None: all).

        A read stores only such chunks, if Redis has lost them. So the cached share of a version that is too large is
        never replaced.
        """
        name, values = version_name(chunk.dataset, version), self.value_names(chunk, form, tiles)
        return self._call(lambda redis: self._ledger.are_stored(redis, name, values), False)


def _tiles_of(chunk: ChunkRef, tiles: Sequence[int] | None) -> Sequence[int]:
    """Return those of the tiles that the chunk has; a chunk that is older than a column lacks the last ones."""
    count = len(chunk.tiles)
    return range(count) if tiles is None else [tile for tile in tiles if tile < count]


def _unlink(redis: Redis, keys: Sequence[str]) -> int:
    return int(redis.unlink(*keys))


def _groups(items: Iterable[_T]) -> Iterator[list[_T]]:
    iterator = iter(items)
    while group := list(islice(iterator, _KEYS_AT_ONCE)):
        yield group
