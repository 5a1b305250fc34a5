"""Choose the allocator of a load's Arrow memory: one that returns freed memory, so that the memory bound holds.

Peak of resident memory for 600 MB of CSV, with 2 and with 8 threads (tests/integration/load/test_memory.py):

* mimalloc, Arrow's own choice: 364 to 393 MB, and 560 MB. Every thread keeps the blocks that other threads have freed.
* jemalloc: 312 to 320 MB, and 420 MB, if the CSV is parsed in blocks of 2 MB.
* jemalloc: 280 MB, and 370 MB, if the CSV is parsed in blocks of 1 MB.

The processor time is the same. Reads keep mimalloc, because it is faster for memory that is passed to the caller.

Arrow's default pool belongs to the process, so the functions that load do not change it. The command and the tasks of
Airflow change it with ``loader_memory``. Another program that loads many rows may do the same.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

_lock = threading.Lock()
_users = 0
_before: pa.MemoryPool | None = None


@contextmanager
def loader_memory() -> Iterator[None]:
    """Let Arrow allocate from the loader's pool while any thread is within such a block; also a decorator.

    Afterwards the previous allocator is set again. Every buffer returns to the pool that it came from, so other threads
    that allocate meanwhile are not affected.
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
    """Return the pool of jemalloc, or of the C library if Arrow was built without jemalloc.

    The C library's takes 318 MB, at the cost of more system time.
    """
    try:
        return pa.jemalloc_memory_pool()
    except NotImplementedError:
        return pa.system_memory_pool()
