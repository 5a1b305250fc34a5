"""An in-memory double of the cache for warmings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from millrace.cache import CachedForms, CachedPart, Form, Room, Values
from millrace.store.catalogue.manifest import ChunkRef


class WarmingDouble:
    """A warming of the first ``chunks`` of a part; notes how it ended."""

    def __init__(self, redis: RedisDouble, part: CachedPart, chunks: int, reason: str) -> None:
        self.redis, self.part, self.chunks, self.reason = redis, part, chunks, reason
        self.released: list[str] = []

    def stored(self, values: Sequence[str]) -> None:
        self.released += values

    def complete(self, value_bytes: int) -> None:
        self.redis.completed.append((self.part, self.chunks, value_bytes))

    def abandon(self, values: Sequence[str]) -> None:
        for value in values:
            self.redis.kept.pop(value, None)
        self.redis.abandoned.append(self.part)


class RedisDouble:
    """A cache with a limited number of bytes, of which the ledger admits ``admitted_bytes``."""

    address = "redis:6379"

    def __init__(self, room_bytes: int = 10**9, admitted_bytes: int = 10**9, *, responds: bool = True) -> None:
        self.room_bytes = room_bytes
        self.admitted_bytes = admitted_bytes
        self.responds = responds
        self.kept: dict[str, bytes] = {}
        self.completed: list[tuple[CachedPart, int, int]] = []
        self.abandoned: list[CachedPart] = []
        self.warmings: list[WarmingDouble] = []

    def room(self) -> Room | None:
        return Room(self.admitted_bytes, self.admitted_bytes) if self.responds else None

    def forms(self, dataset: str, version: str) -> CachedForms:
        forms = tuple(part.form for part, _, _ in self.completed if part.version == version)
        return CachedForms(forms, forms)

    @contextmanager
    def warming(self, part: CachedPart, chunks: Sequence[Values], room: Room) -> Iterator[WarmingDouble]:
        left, admitted = self.admitted_bytes, 0
        for values in chunks:
            left -= sum(size for value, size in values.items() if value not in self.kept)
            admitted += left >= 0
        self.warmings.append(WarmingDouble(self, part, admitted, "" if left >= 0 else "it is too large"))
        yield self.warmings[-1]

    def value_names(self, ref: ChunkRef, form: Form, tiles: Sequence[int] | None) -> list[str]:
        chunk = f"{ref.attempt_id.hex}:{ref.bucket}:{ref.chunk}"
        if form is Form.STORED:
            return [chunk]
        return [f"{chunk}:{tile}" for tile in (range(len(ref.tiles)) if tiles is None else tiles)]

    def values(self, ref: ChunkRef, form: Form, tiles: Sequence[int] | None, room: Room) -> Values:
        if form is Form.STORED:
            return {self.value_names(ref, form, None)[0]: ref.stored_bytes}
        indices = range(len(ref.tiles)) if tiles is None else tiles
        sizes = (ref.tiles[tile].raw_bytes for tile in indices)
        return dict(zip(self.value_names(ref, form, tiles), sizes, strict=True))

    def has(self, refs: Iterable[ChunkRef], form: Form = Form.STORED, tiles: Sequence[int] | None = None) -> list[bool]:
        return [all(value in self.kept for value in self.value_names(ref, form, tiles)) for ref in refs]

    def put(self, ref: ChunkRef, tiles: Sequence[Any]) -> bool:
        return self._put({self.value_names(ref, Form.STORED, None)[0]: b"".join(tiles)})

    def put_raw(self, ref: ChunkRef, tiles: dict[int, Any]) -> bool:
        return self._put({self.value_names(ref, Form.RAW, [tile])[0]: bytes(raw) for tile, raw in tiles.items()})

    def _put(self, values: dict[str, bytes]) -> bool:
        size = sum(map(len, values.values()))
        if size > self.room_bytes:
            return False
        self.room_bytes -= size
        self.kept |= values
        return True
