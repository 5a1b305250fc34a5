"""The machine's memory and disk, and how the services share them."""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from local_stack.settings import StackSettings
from millrace.errors import StackError

MIB = 1024 * 1024
DISK_NEEDED_MB = 6 * 1024
"""Two commit logs of 1 GiB, jars, logs, Airflow's database, and the data of a few datasets."""


@dataclass(frozen=True)
class Sizes:
    """The memory of each service in MiB, chosen by the machine's memory unless a setting gives it."""

    cassandra_heap_mb: int
    redis_maxmemory_mb: int

    @property
    def cassandra_process_mb(self) -> int:
        """Return the memory of a node's whole process in MiB.

        It is the sum of heap, off-heap memtables (half a heap), file and network caches, metaspace, threads and code.
        """
        return self.cassandra_heap_mb + self.cassandra_heap_mb // 2 + 128 + 64 + 300


def memory_total_mb(cgroup_limit: Path = Path("/sys/fs/cgroup/memory.max")) -> int:
    """Return the usable memory in MiB: the machine's, or the container's limit if that is less."""
    total = int(psutil.virtual_memory().total)
    with suppress(OSError, ValueError):  # no cgroup v2 here, or its limit is the word "max"
        total = min(total, int(cgroup_limit.read_text()))
    return total // MIB


def sizes(settings: StackSettings, total_mb: int) -> Sizes:
    """Return the sizes for a machine with ``total_mb`` of memory, for example heaps of 1 GiB on 24 GiB."""
    by_machine = 512 if total_mb < 12 * 1024 else 1024 if total_mb < 48 * 1024 else 2048
    return Sizes(
        cassandra_heap_mb=settings.cassandra_heap_mb or by_machine,
        redis_maxmemory_mb=settings.redis_maxmemory_mb or max(256, min(4096, total_mb // 16)),
    )


def require_memory(needed_mb: dict[str, int]) -> None:
    """Check that the memory that these services use is free; raise ``StackError`` with the need of each if not."""
    available_mb = int(psutil.virtual_memory().available) // MIB
    if sum(needed_mb.values()) > available_mb:
        shares = ", ".join(f"{name} {mb}" for name, mb in needed_mb.items())
        raise StackError(
            f"{sum(needed_mb.values())} MiB of memory are needed ({shares}), {available_mb} MiB are free",
            hint="start fewer services, or smaller ones (MILLRACE_STACK__CASSANDRA_HEAP_MB=512)",
        )


def require_disk(home: Path, needed_mb: int = DISK_NEEDED_MB) -> None:
    """Check that the filesystem of ``home`` has ``needed_mb`` free; raise ``StackError`` if not."""
    free_mb = shutil.disk_usage(home).free // MIB
    if free_mb < needed_mb:
        raise StackError(
            f"{home}: {free_mb} MiB of disk are free, {needed_mb} MiB are needed",
            hint="free some, or set MILLRACE_HOME to a folder on a larger disk",
        )
