"""Chunks from the process, Redis and Cassandra: every wrong value is read from the next tier and counted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pytest

from millrace.api import Store
from millrace.cache import Form
from millrace.chunks import Chunk, ChunkSettings, TileLayout, encode_row_group
from millrace.dataset import ChunkDecoder, ChunkSource
from millrace.errors import ChunkMissingError, UsageError
from millrace.load import LoadOptions
from millrace.store import ChunkRef
from tests.unit.dataset.test_scan import LAYOUT, SCHEMA, Shelf, chunk, ref_of
from tests.unit.store.in_memory import cassandra, csv, settings, store

__all__ = ["cassandra", "csv", "settings", "store"]

ROWS = 3000


class RedisDouble:
    """Values by chunk, and by chunk and tile; it reads them into allocated memory as the real cache does."""

    def __init__(self) -> None:
        self.stored: dict[int, bytes] = {}
        self.raw: dict[tuple[int, int], bytes] = {}
        self.asked: list[Form] = []
        self.admitted: set[Form] = set(Form)

    def is_admitted(self, version: str, ref: ChunkRef, form: Form, tiles: Sequence[int] | None = None) -> bool:
        return form in self.admitted

    def get(
        self, ref: ChunkRef, sizes: Sequence[int], tiles: Sequence[int] | None, **options: Any
    ) -> list[memoryview] | None:
        self.asked.append(Form.STORED)
        value = self.stored.get(ref.chunk)
        [whole] = self._read([value], [sum(sizes)], **options) or [None]
        if whole is None:
            return None
        ends = [sum(sizes[: tile + 1]) for tile in range(len(sizes))]
        return [whole[ends[t] - sizes[t] : ends[t]] for t in (range(len(sizes)) if tiles is None else tiles)]

    def get_raw(
        self, ref: ChunkRef, sizes: Sequence[int], tiles: Sequence[int], **options: Any
    ) -> list[memoryview] | None:
        self.asked.append(Form.RAW)
        return self._read([self.raw.get((ref.chunk, tile)) for tile in tiles], [sizes[t] for t in tiles], **options)

    def _read(
        self, values: Iterable[bytes | None], sizes: Iterable[int], *, allocate: Any, on_other_size: Any
    ) -> list[memoryview] | None:
        buffers = []
        for value, size in zip(values, sizes, strict=True):
            if value is None:
                return None
            if len(value) != size:
                on_other_size()
                return None
            buffers.append(memoryview(allocate(size)).cast("B"))
            buffers[-1][:] = value
        return buffers

    def put(self, ref: ChunkRef, tiles: Sequence[Any]) -> bool:
        self.stored[ref.chunk] = b"".join(tiles)
        return True

    def put_raw(self, ref: ChunkRef, tiles: dict[int, Any]) -> bool:
        self.raw |= {(ref.chunk, tile): bytes(raw) for tile, raw in tiles.items()}
        return True


class Chunks:
    """Some chunks in a store, with an empty Redis."""

    def __init__(self, count: int = 4) -> None:
        self.made = [chunk(number, ROWS) for number in range(count)]
        self.refs = [ref_of(made, number) for number, made in enumerate(self.made)]
        self.shelf = Shelf(self.made)
        self.redis = RedisDouble()

    def source(self, columns: list[int] | None = None, **options: Any) -> ChunkSource:
        return ChunkSource(self.shelf, self.redis, ChunkDecoder(SCHEMA, LAYOUT, columns), **options)  # type: ignore[arg-type]

    def put_stored(self, number: int) -> None:
        self.redis.put(self.refs[number], [tile.stored for tile in self.made[number].tiles])

    def put_raw(self, number: int) -> None:
        ref = self.refs[number]
        stored = [tile.stored for tile in self.made[number].tiles]
        self.redis.put_raw(ref, {i: tile.inflate(stored[i], {}) for i, tile in enumerate(ref.tiles)})


@pytest.fixture
def chunks() -> Chunks:
    return Chunks()


def numbers(batch: pa.RecordBatch) -> list[int]:
    return batch["n"].to_pylist()  # type: ignore[no-any-return]


def expected(number: int) -> list[int]:
    return list(range(number * ROWS, number * ROWS + ROWS))


def borrowed(source: ChunkSource, ref: ChunkRef) -> list[int]:
    with source.borrow(ref) as batch:
        return numbers(batch)


BOTH = (Form.RAW, Form.STORED)


def test_each_tier_gives_the_same_rows_and_is_counted(chunks: Chunks) -> None:
    chunks.put_raw(0)
    chunks.put_stored(1)
    source = chunks.source(forms=BOTH, decoded_bytes_max=10_000_000)
    for _ in range(2):
        for number, ref in enumerate(chunks.refs):
            assert borrowed(source, ref) == expected(number)
    stored_bytes = sum(ref.stored_bytes for ref in chunks.refs)
    assert source.stats.to_json() == {"process": 4, "redis": 2, "cassandra": 2, "stored_bytes": stored_bytes}
    assert chunks.shelf.fetched == [2, 3]


@pytest.mark.parametrize("columns", [[0], [1, 0], []])
def test_borrowed_chunks_have_the_selected_columns(chunks: Chunks, columns: list[int]) -> None:
    chunks.put_raw(0)
    source = chunks.source(columns, forms=BOTH)
    for ref in chunks.refs:
        with source.borrow(ref) as batch:
            assert batch.schema.names == [SCHEMA.names[i] for i in columns]
            assert batch.num_rows == ROWS


@pytest.mark.parametrize("form", [Form.RAW, Form.STORED])
@pytest.mark.parametrize("damage", ["flipped", "foreign", "cut", "longer"])
def test_a_wrong_value_is_rejected_and_read_from_the_next_tier(chunks: Chunks, form: Form, damage: str) -> None:
    def wrong(value: bytes, other: bytes) -> bytes:
        flipped = value[:200] + bytes([value[200] ^ 1]) + value[201:]
        return {"flipped": flipped, "foreign": other, "cut": value[:-1], "longer": value + b"x"}[damage]

    for number in (0, 1):
        chunks.put_raw(number)
        chunks.put_stored(number)
    if form is Form.RAW:
        chunks.redis.raw[0, 0] = wrong(chunks.redis.raw[0, 0], chunks.redis.raw[1, 0])
    else:
        chunks.redis.stored[0] = wrong(chunks.redis.stored[0], chunks.redis.stored[1])
    for take in (borrowed, lambda source, ref: numbers(source.batches([ref])[0])):
        source = chunks.source(forms=(form,))
        assert take(source, chunks.refs[0]) == expected(0)
        assert (source.stats.rejected_by_checksum, source.stats.redis, source.stats.cassandra) == (1, 0, 1)


def test_a_missing_tile_of_a_raw_chunk_is_read_from_the_next_tier_and_not_rejected(chunks: Chunks) -> None:
    chunks.put_raw(0)
    del chunks.redis.raw[0, 1]
    source = chunks.source(forms=(Form.RAW,))
    assert borrowed(source, chunks.refs[0]) == expected(0)
    assert (source.stats.rejected_by_checksum, source.stats.cassandra) == (0, 1)


def test_forms_are_asked_in_their_order_until_one_has_the_chunk(chunks: Chunks) -> None:
    chunks.put_stored(0)
    chunks.source(forms=BOTH).batches(chunks.refs[:1])
    chunks.source(forms=(Form.STORED, Form.RAW)).batches(chunks.refs[:1])
    assert chunks.redis.asked == [Form.RAW, Form.STORED, Form.STORED]


@pytest.mark.parametrize(("forms", "columns"), [((Form.RAW,), None), ((Form.RAW,), [0]), ((Form.STORED,), None)])
def test_a_filled_cache_gives_the_chunk_in_the_form_of_the_version(
    chunks: Chunks, forms: tuple[Form, ...], columns: list[int] | None
) -> None:
    for expected_cassandra in (1, 0):
        source = chunks.source(columns, forms=forms, refilled_version="1-aaaaaa")
        assert borrowed(source, chunks.refs[0]) == expected(0)
        assert source.stats.cassandra == expected_cassandra
    assert bool(chunks.redis.stored) is (forms == (Form.STORED,))


@pytest.mark.parametrize("form", list(Form))
def test_a_chunk_that_no_warming_has_cached_is_not_put_into_redis(chunks: Chunks, form: Form) -> None:
    chunks.redis.admitted = {form}
    assert borrowed(chunks.source(forms=BOTH, refilled_version="1-aaaaaa"), chunks.refs[0]) == expected(0)
    assert (bool(chunks.redis.stored), bool(chunks.redis.raw)) == (form is Form.STORED, form is Form.RAW)


def test_the_memory_of_a_borrowed_chunk_is_used_again(chunks: Chunks) -> None:
    wide = 64
    schema = pa.schema([("x", pa.list_(pa.float32(), wide))])
    rows = [[float(row * wide + i) for i in range(wide)] for row in range(100)]
    made: list[Chunk] = []
    for _ in range(3):
        batch = pa.RecordBatch.from_pydict({"x": rows}, schema=schema)
        made += encode_row_group(batch, ChunkSettings(row_group_bytes=1), TileLayout.for_schema(schema))
    decoder = ChunkDecoder(schema, TileLayout.for_schema(schema), None)
    source = ChunkSource(Shelf(made), None, decoder)  # type: ignore[arg-type]
    addresses = set()
    for number, each in enumerate(made):
        with source.borrow(ref_of(each, number)) as batch:
            assert batch["x"].to_pylist() == rows
            addresses.add(batch["x"].values.buffers()[1].address)
    assert len(addresses) == 1


def test_concurrent_users_of_a_chunk_share_one_fetch_and_its_memory(chunks: Chunks) -> None:
    source = chunks.source()
    everyone_reads = threading.Barrier(4)

    def use(_: int) -> list[int]:
        with source.borrow(chunks.refs[1]) as batch:
            everyone_reads.wait(20)
            return numbers(batch)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(use, range(4))) == [expected(1)] * 4
    assert chunks.shelf.fetched == [1]
    assert (source.stats.process, source.stats.cassandra) == (3, 1)


def test_sources_of_one_store_share_a_chunk_only_with_the_same_columns(chunks: Chunks) -> None:
    same, also, other = chunks.source([0]), chunks.source([0]), chunks.source([1])
    ref = chunks.refs[1]
    with same.borrow(ref) as first, also.borrow(ref) as second, other.borrow(ref) as third:
        assert numbers(first) == numbers(second) == expected(1)
        assert third.schema.names == ["text"]
    assert chunks.shelf.fetched == [1, 1]
    assert [source.stats.process for source in (same, also, other)] == [0, 1, 0]


def test_an_error_reaches_all_users_of_a_chunk_and_the_next_user_fetches_again(chunks: Chunks) -> None:
    source = chunks.source()
    fetch, chunks.shelf.fetch = chunks.shelf.fetch, _missing  # type: ignore[method-assign]
    for _ in range(2):
        with pytest.raises(ChunkMissingError), source.borrow(chunks.refs[0]):
            pass
    chunks.shelf.fetch = fetch  # type: ignore[method-assign]
    assert borrowed(source, chunks.refs[0]) == expected(0)


def _missing(ref: ChunkRef, tiles: Sequence[int] | None = None) -> list[bytes]:
    raise ChunkMissingError(f"chunk {ref} is gone")


def test_nested_loans_have_different_memory(chunks: Chunks) -> None:
    for number in range(4):
        chunks.put_raw(number)
    source = chunks.source(forms=BOTH)
    with source.borrow(chunks.refs[0]) as first, source.borrow(chunks.refs[1]) as second:
        assert (numbers(first), numbers(second)) == (expected(0), expected(1))


def test_many_threads_read_all_chunks_correctly(chunks: Chunks) -> None:
    for number in range(3):
        chunks.put_raw(number)
    source = chunks.source(forms=BOTH, decoded_bytes_max=60_000)
    order = [number % 4 for number in range(200)]
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(lambda number: borrowed(source, chunks.refs[number]), order))
    assert read == [expected(number) for number in order]
    assert 0 < source.decoded_bytes <= 60_000
    assert source.stats.process + source.stats.redis + source.stats.cassandra == 200


def test_the_bytes_in_flight_cover_stored_raw_and_cast_bytes(chunks: Chunks) -> None:
    [ref] = chunks.refs[:1]
    source = chunks.source()
    with source.borrow(ref) as batch:
        decoded_bytes = batch.nbytes
    assert source.bytes_in_flight(ref) >= ref.stored_bytes + ref.raw_bytes + decoded_bytes
    one_column = chunks.source([0])
    assert one_column.bytes_in_flight(ref) < source.bytes_in_flight(ref)


def test_a_dataset_gives_the_chunks_of_the_chosen_columns(store: Store, csv: Callable[..., str]) -> None:
    store.load("numbers", csv(ROWS), LoadOptions(chunk_bytes=65_536))
    dataset = store.dataset("numbers")
    source = dataset.chunk_source(["text"])
    read: list[str] = []
    for ref in dataset.refs():
        with source.borrow(ref) as batch:
            read += batch["text"].to_pylist()
    assert read == [f"text {n}" for n in range(ROWS)]
    assert source.schema.names == ["text"]
    assert dataset.stats is source.stats
    assert dataset.stats.to_json()["cassandra"] == dataset.version.chunks
    with pytest.raises(UsageError, match="no column 'other'"):
        dataset.chunk_source(["other"])
