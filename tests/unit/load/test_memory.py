"""A load gives Arrow its own allocator and restores the previous one afterwards."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pyarrow as pa
import pytest

from millrace.api import Store
from millrace.load.memory import loader_memory


def backend() -> str:
    name: str = pa.default_memory_pool().backend_name
    return name


def test_a_load_uses_its_own_allocator_and_restores_the_previous_one() -> None:
    before = backend()
    with loader_memory():
        inside = backend()
        kept = pa.allocate_buffer(1_000_000)
    assert (backend(), inside != before or inside == "jemalloc") == (before, True)
    # A buffer may outlive the load that made it; it is freed by the allocator that it came from.
    assert kept.size == 1_000_000
    del kept


def test_the_last_of_several_loads_restores_the_allocator() -> None:
    before = backend()
    begun, done = threading.Event(), threading.Event()

    def other() -> None:
        with loader_memory():
            begun.set()
            done.wait(10)

    thread = threading.Thread(target=other)
    with loader_memory():
        during = backend()
        thread.start()
        assert begun.wait(10)
    assert backend() == during
    done.set()
    thread.join(10)
    assert backend() == before


def test_a_failed_load_restores_the_allocator() -> None:
    before = backend()

    @loader_memory()
    def fails() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fails()
    assert backend() == before


def test_a_load_by_a_program_leaves_its_allocator_alone(store: Store) -> None:
    """Arrow's default pool belongs to the process. The command and the tasks of Airflow choose it for theirs."""
    backends = [backend()]

    def batches() -> Iterator[pa.RecordBatch]:
        backends.append(backend())
        yield pa.record_batch([pa.array([1, 2])], ["n"])

    schema = pa.schema([("n", pa.int64())])
    store.load("kept", pa.RecordBatchReader.from_batches(schema, batches()))
    assert len(backends) > 1
    assert len(set(backends)) == 1


def test_without_jemalloc_the_system_allocator_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> pa.MemoryPool:
        raise NotImplementedError("this build has no jemalloc")

    monkeypatch.setattr(pa, "jemalloc_memory_pool", absent)
    with loader_memory():
        assert backend() == "system"
