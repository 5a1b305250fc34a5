"""Read the values of chunks from Redis, whole or in part, and cut them into tiles."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from millrace.compat.redis import Allocate, Command, Read, read_values

if TYPE_CHECKING:
    from redis import Redis


class Form(StrEnum):
    """The form of a cached chunk.

    Stored: one value, the chunk's stored tiles one after another. Raw: a value for each tile, its uncompressed Arrow
    stream.
    """

    STORED = "stored"
    RAW = "raw"


def read_ranges(redis: Redis, key: str, ranges: Sequence[tuple[int, int]], allocate: Allocate) -> Read:
    """Read ranges of bytes of a value, each into memory of its own."""
    commands: list[Command] = [("GETRANGE", key, start, end - 1) for start, end in ranges]
    return read_values(redis, commands, [end - start for start, end in ranges], allocate)


def read_whole(redis: Redis, keys: Sequence[str], sizes: Sequence[int], allocate: Allocate) -> Read:
    """Read whole values of known sizes, each into memory of its own."""
    return read_values(redis, [("GET", key) for key in keys], sizes, allocate)


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
