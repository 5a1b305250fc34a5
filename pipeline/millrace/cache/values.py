"""Read the values of chunks from Redis, whole or in part, and cut them into tiles."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from millrace.compat.redis import Command, Reply, read_values

if TYPE_CHECKING:
    from redis import Redis


Read = tuple[Reply, list[memoryview]]
Allocate = Callable[[int], Any]
"""A function that returns writable memory of a number of bytes."""


class Form(StrEnum):
    """The form of a cached chunk.

    Stored: one value, the chunk's stored tiles one after another. Raw: a value for each tile, its uncompressed Arrow
    stream.
    """

    STORED = "stored"
    RAW = "raw"


def read_ranges(redis: Redis, key: str, ranges: Sequence[tuple[int, int]], allocate: Allocate) -> Read:
    """Read ranges of bytes of a value, each into memory of its own."""
    return _read(redis, [("GETRANGE", key, start, end - 1) for start, end in ranges], map(_size, ranges), allocate)


def read_whole(redis: Redis, keys: Sequence[str], sizes: Iterable[int], allocate: Allocate) -> Read:
    """Read whole values of known sizes, each into memory of its own."""
    return _read(redis, [("GET", key) for key in keys], sizes, allocate)


def _size(range_: tuple[int, int]) -> int:
    return range_[1] - range_[0]


def _read(redis: Redis, commands: Sequence[Command], sizes: Iterable[int], allocate: Allocate) -> Read:
    buffers = [memoryview(allocate(size)).cast("B") for size in sizes]  # Arrow's buffers have the format "b"
    return read_values(redis, commands, buffers), buffers


def pipelined(redis: Redis, command: str, keys: Sequence[str]) -> list[Any]:
    """Return the reply of a command for each key, by one request."""
    pipeline = redis.pipeline(transaction=False)
    for key in keys:
        getattr(pipeline, command)(key)
    return list(pipeline.execute())


def cut_tiles(parts: Sequence[Any], sizes: Sequence[int]) -> list[memoryview]:
    """Split parts into tiles: each part is a concatenation of whole tiles."""
    tiles: list[memoryview] = []
    remaining = iter(parts)
    rest = memoryview(b"")
    for size in sizes:
        if not rest:
            rest = memoryview(next(remaining, b""))
        tiles.append(rest[:size])
        rest = rest[size:]
    return tiles
