"""Estimates of the memory that values use in Redis, and Redis' memory limit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

BUFFERS_BYTES = 20_000_000
"""Bytes kept free for each warming: Redis counts connection buffers as used memory.

Each of a warming's three connections has a buffer of the size of its last value, 5 MB.
"""

_ENTRY_BYTES = 384  # key, dictionary entry, object header and record in the ledger
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


def limit_bytes(info: Mapping[str, Any]) -> int:
    """Return Redis' memory limit in bytes: its ``maxmemory``, or half of the machine's memory where it has none."""
    limit = int(info.get("maxmemory", 0))
    return limit or int(int(info.get("total_system_memory", 0)) * _SHARE_WITHOUT_LIMIT)


@dataclass(frozen=True, slots=True)
class Room:
    """The memory limit of Redis in bytes, the bytes that are free for further values, and whether sizes are rounded."""

    limit_bytes: int
    free_bytes: int
    rounds: bool = True

    def cost_bytes(self, value_bytes: int) -> int:
        """Return the memory in bytes that a value of this size uses, with its record in the ledger."""
        return value_cost_bytes(value_bytes, rounds=self.rounds)
