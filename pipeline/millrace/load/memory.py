"""Where a load's Arrow memory comes from: an allocator that gives freed memory back, so that the bound holds.

Measured with 600 MB of CSV (peak of resident memory, 2 and 8 threads; tests/integration/load/test_memory.py):
Arrow's own choice, mimalloc, 364 to 393 MB and 560 MB, because every thread keeps what others of its blocks freed;
jemalloc 312 to 320 MB and 420 MB with blocks of 2 MB, 280 and 370 MB with 1 MB; the processor time is the same.
Readers keep mimalloc, which is faster where memory is handed to the caller.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

__all__ = ["loader_memory"]

_lock = threading.Lock()
_users = 0
_before: pa.MemoryPool | None = None


@contextmanager
def loader_memory() -> Iterator[None]:
    """While any thread is inside, Arrow takes new memory from the loader's allocator; afterwards as before.

    Arrow's default pool belongs to the process. Every buffer goes back to the pool it came from, so others who
    allocate meanwhile notice nothing. Also a decorator.
    """
    global _users, _before
    with _lock:
        if _users == 0:
            _before = pa.default_memory_pool()
            pa.set_memory_pool(_calm_pool())
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                pa.set_memory_pool(_before)
                _before = None


def _calm_pool() -> pa.MemoryPool:
    """jemalloc's, the C library's where Arrow was built without it: 318 MB, at the cost of more system time."""
    try:
        return pa.jemalloc_memory_pool()
    except NotImplementedError:
        return pa.system_memory_pool()
