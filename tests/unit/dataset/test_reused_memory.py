"""Reused memory: aligned buffers, allocated once and grown to the largest chunk."""

from __future__ import annotations

import pyarrow as pa

from millrace.dataset.reused_memory import ReusedMemory, aligned_bytes


def test_buffers_are_writable_aligned_and_do_not_overlap() -> None:
    memory = ReusedMemory()
    memory.begin(sum(map(aligned_bytes, (100, 1, 64))))
    buffers = [memory.allocate(size) for size in (100, 1, 64)]
    for number, buffer in enumerate(buffers):
        memoryview(buffer).cast("B")[:] = bytes([number]) * buffer.size
    assert [set(buffer.to_pybytes()) for buffer in buffers] == [{0}, {1}, {2}]
    assert [buffer.address % 64 for buffer in buffers] == [0, 0, 0]


def test_the_next_chunk_gets_the_same_memory() -> None:
    memory = ReusedMemory()
    addresses = set()
    for size in (1000, 900, 1000, 1):
        memory.begin(aligned_bytes(size))
        addresses.add(memory.allocate(size).address)
    assert len(addresses) == 1


def test_a_larger_chunk_replaces_the_memory() -> None:
    before = pa.total_allocated_bytes()
    memory = ReusedMemory()
    for size in (1_000_000, 2_000_000, 500_000):
        memory.begin(size)
        assert memory.allocate(size).size == size
    assert pa.total_allocated_bytes() - before <= 2_000_064


def test_a_buffer_that_does_not_fit_has_memory_of_its_own() -> None:
    memory = ReusedMemory()
    memory.begin(128)
    first, second = memory.allocate(128), memory.allocate(1)
    memoryview(second).cast("B")[0] = 7
    memoryview(first).cast("B")[:] = bytes(128)
    assert second.to_pybytes() == b"\x07"
