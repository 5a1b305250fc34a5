"""Decoded chunks in the process: exact bytes, within the limit, and none is replaced."""

from __future__ import annotations

import threading

import pyarrow as pa
import pytest

from millrace.dataset.decoded_chunks import DecodedChunks

ROWS = 1000


def batch(start: int = 0) -> pa.RecordBatch:
    numbers = pa.array(range(start, start + ROWS), pa.int64())
    vectors = pa.FixedSizeListArray.from_arrays(pa.array([float(start)] * ROWS * 4, pa.float32()), 4)
    codes = pa.array([f"c{n % 3}" for n in range(ROWS)]).dictionary_encode()
    schema = pa.schema([("n", pa.int64()), ("v", vectors.type), ("code", codes.type)], metadata={b"kind": b"training"})
    return pa.RecordBatch.from_arrays([numbers, vectors, codes], schema=schema)


def kept_bytes(rows: pa.RecordBatch) -> int:
    chunks = DecodedChunks(1 << 30)
    chunks.keep(0, rows)
    return chunks.bytes


def test_a_kept_chunk_has_the_same_rows_and_metadata_in_memory_of_its_own() -> None:
    original = batch()
    chunks = DecodedChunks(1_000_000)
    chunks.keep("a", original)
    kept = chunks.get("a")
    assert kept is not None
    assert kept.equals(original, check_metadata=True)
    assert kept.schema.metadata == original.schema.metadata
    assert kept["n"].buffers()[1].address != original["n"].buffers()[1].address
    assert chunks.get("b") is None


def test_its_bytes_are_the_memory_that_arrow_allocates() -> None:
    chunks = DecodedChunks(10_000_000)
    original = batch()
    before = pa.total_allocated_bytes()
    for number in range(50):
        chunks.keep(number, original)
    assert pa.total_allocated_bytes() - before == pytest.approx(chunks.bytes, abs=50 * 64)


def test_a_slice_counts_with_its_own_rows() -> None:
    assert kept_bytes(batch().slice(100, 10)) < kept_bytes(batch()) / 10


def test_the_first_chunks_that_fit_stay_and_none_is_replaced() -> None:
    size = kept_bytes(batch())
    chunks = DecodedChunks(3 * size + size // 2)
    for _ in range(2):
        for number in range(10):
            chunks.keep(number, batch(number))
    assert [number for number in range(10) if chunks.get(number) is not None] == [0, 1, 2]
    assert chunks.bytes == 3 * size
    chunks.keep("small", batch().slice(0, 10))
    assert chunks.get("small") is not None
    assert chunks.bytes <= 3 * size + size // 2


def test_without_a_share_nothing_is_kept() -> None:
    chunks = DecodedChunks(0)
    chunks.keep("a", batch())
    assert chunks.get("a") is None
    assert chunks.bytes == 0


def test_threads_together_stay_within_the_limit() -> None:
    size = kept_bytes(batch())
    chunks = DecodedChunks(5 * size)
    begin = threading.Barrier(8)

    def keep(seed: int) -> None:
        begin.wait(20)
        for number in range(10):
            chunks.keep((number + seed) % 20, batch(number))

    threads = [threading.Thread(target=keep, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert chunks.bytes == 5 * size
    assert sum(chunks.get(number) is not None for number in range(20)) == 5
