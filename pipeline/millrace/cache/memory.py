"""Estimates of the memory that values use in Redis, and Redis' memory limit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

BUFFERS_BYTES = 20_000_000
"""Bytes kept free: Redis counts connection buffers (5 MB for each busy connection) as used memory."""

_ENTRY_BYTES = 256  # key, dictionary entry and object header
_TYPICAL_CHUNK_BYTES = 4_500_000
_SHARE_WITHOUT_LIMIT = 0.5


def rounds_up(info: Mapping[str, Any]) -> bool:
    """Return whether this Redis uses jemalloc, which rounds large values up by as much as a quarter."""
    return str(info.get("mem_allocator", "jemalloc")).startswith("jemalloc")


def value_cost_bytes(value_bytes: int, *, rounds: bool = True) -> int:
    """Return the memory in bytes that a value of this size uses.

    jemalloc has four size classes for each doubling: 4,900,000 bytes use 5 MiB (5,242,928 by MEMORY USAGE). The C
    library rounds large values up to pages (``rounds`` False).
    """
    size = value_bytes + 16
    step = max(16, 1 << max(0, (size - 1).bit_length() - 3)) if rounds else 4096
    return -(-size // step) * step + _ENTRY_BYTES


def version_cost_bytes(total_bytes: int, chunk_bytes: Sequence[int] | None = None, *, rounds: bool = True) -> int:
    """Return the memory in bytes for a version: exact if the sizes of its chunks are known, else for 90 % full ones."""
    if chunk_bytes is not None:
        return sum(value_cost_bytes(size, rounds=rounds) for size in chunk_bytes)
    chunks, rest = divmod(total_bytes, _TYPICAL_CHUNK_BYTES)
    cost = chunks * value_cost_bytes(_TYPICAL_CHUNK_BYTES, rounds=rounds)
    return cost + (value_cost_bytes(rest, rounds=rounds) if rest else 0)


def limit_bytes(info: Mapping[str, Any]) -> int:
    """Return Redis' memory limit in bytes: its ``maxmemory``, or half of the machine's memory where it has none."""
    limit = int(info.get("maxmemory", 0))
    return limit or int(int(info.get("total_system_memory", 0)) * _SHARE_WITHOUT_LIMIT)
