"""Reading ahead: in order and bounded; chunks missing or damaged in the cache are read from the store."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest

from millrace.cache import Form
from millrace.chunks import Chunk, ChunkSettings, TileLayout, decode_tile, encode_row_group
from millrace.dataset import ChunkDecoder, ChunkSource, Scan
from millrace.errors import ChecksumMismatchError, ChunkFormatError, ChunkMissingError
from millrace.settings import ReadSettings
from millrace.store.catalogue.manifest import ChunkRef, TileRef

SCHEMA = pa.schema([("n", pa.int64()), ("text", pa.string())])
LAYOUT = TileLayout.for_schema(SCHEMA)


def chunk(number: int, rows: int = 10, zeros: bool = False) -> Chunk:
    values = [0] * rows if zeros else list(range(number * rows, number * rows + rows))
    batch = pa.RecordBatch.from_pydict({"n": values, "text": [f"t{v}" for v in values]}, schema=SCHEMA)
    (made,) = encode_row_group(batch, ChunkSettings(row_group_bytes=1), LAYOUT)
    return made


def ref_of(made: Chunk, number: int, bucket: int = 0) -> ChunkRef:
    tiles = tuple(TileRef(t.codec, t.raw_bytes, t.stored_bytes, t.stored_checksum, t.raw_checksum) for t in made.tiles)
    return ChunkRef("flights", UUID(int=1), bucket, number, made.rows, tiles)


class Shelf:
    """A chunk store in memory that records the fetched chunks and can be made to wait."""

    def __init__(self, chunks: Sequence[Chunk]) -> None:
        self.chunks = list(chunks)
        self.fetched: list[int] = []
        self.may_answer = threading.Event()
        self.may_answer.set()

    def fetch(self, ref: ChunkRef, tiles: Sequence[int] | None = None) -> list[bytes]:
        self.fetched.append(ref.chunk)
        assert self.may_answer.wait(20)
        made = self.chunks[ref.chunk]
        return [made.tiles[t].stored for t in (range(len(made.tiles)) if tiles is None else tiles)]

    def fetch_many(self, refs: Sequence[ChunkRef], tiles: Sequence[int]) -> list[list[bytes]]:
        return [self.fetch(ref, tiles) for ref in refs]


class Cache:
    def __init__(self) -> None:
        self.kept: dict[int, list[bytes]] = {}

    def is_admitted(self, version: str, chunk: ChunkRef, form: Form, tiles: Sequence[int] | None = None) -> bool:
        return True

    def get(self, key: Any, sizes: Sequence[int], tiles: Sequence[int] | None, **_: Any) -> list[Any] | None:
        stored = self.kept.get(key.chunk)
        return None if stored is None else [stored[t] for t in (range(len(stored)) if tiles is None else tiles)]

    def put(self, key: Any, tiles: Sequence[Any]) -> bool:
        self.kept[key.chunk] = list(tiles)
        return True


def scan(shelf: Shelf, cache: Cache | None = None, columns: list[int] | None = None, **settings: Any) -> Scan:
    version = "1-aaaaaa" if settings.pop("fill_cache", False) else None
    source = ChunkSource(shelf, cache, ChunkDecoder(SCHEMA, LAYOUT, columns), refilled_version=version)
    return Scan(source, ReadSettings(**settings))


def test_rows_are_returned_in_the_order_of_the_chunks() -> None:
    shelf = Shelf([chunk(n) for n in range(50)])
    refs = [ref_of(made, n) for n, made in enumerate(shelf.chunks)]
    batches = list(scan(shelf, decode_threads=8).batches(refs))
    assert [n for batch in batches for n in batch["n"].to_pylist()] == list(range(500))


@pytest.mark.parametrize(("columns", "names"), [([1], ["text"]), ([1, 0], ["text", "n"]), ([], [])])
def test_only_the_selected_columns_are_returned_in_the_given_order(columns: list[int], names: list[str]) -> None:
    shelf = Shelf([chunk(n) for n in range(3)])
    refs = [ref_of(made, n) for n, made in enumerate(shelf.chunks)]
    batches = list(scan(shelf, columns=columns).batches(refs))
    assert [batch.schema.names for batch in batches] == [names] * 3
    assert sum(batch.num_rows for batch in batches) == 30


@pytest.mark.parametrize("columns", [None, [0]])
def test_reading_ahead_is_bounded_by_decoded_bytes(columns: list[int] | None) -> None:
    """200,000 zeros are 1.6 MB decoded and a few KB stored: a window of 5 MB holds at most 12 of them, not 1,000."""
    made = chunk(0, rows=200_000, zeros=True)
    decoded = 200_000 * 8 * (1 if columns else 1.5)
    assert made.stored_bytes * 20 < decoded
    shelf = Shelf([made])
    requested = 0

    def refs() -> Any:
        nonlocal requested
        for number in range(200):
            requested += 1
            yield ref_of(made, 0, bucket=number)

    batches = scan(shelf, columns=columns, window_bytes=5_000_000, decode_threads=1).batches(refs())
    for consumed in range(1, 6):
        next(batches)
        assert (requested - consumed - 2) * decoded <= 4 * 5_000_000
    assert requested > 6
    batches.close()  # type: ignore[attr-defined]


def test_a_chunk_larger_than_the_window_is_read() -> None:
    made = chunk(0, rows=2_000_000, zeros=True)
    (batch,) = scan(Shelf([made]), window_bytes=5_000_000).batches([ref_of(made, 0)])
    assert batch.num_rows == 2_000_000


def test_a_failed_chunk_raises_at_its_position() -> None:
    shelf = Shelf([chunk(n) for n in range(5)])
    inner = shelf.fetch

    def fetch(ref: ChunkRef, tiles: Sequence[int] | None = None) -> list[bytes]:
        if ref.chunk == 3:
            raise ChunkMissingError("chunk 3 is gone")
        return inner(ref, tiles)

    shelf.fetch = fetch  # type: ignore[method-assign]
    batches = scan(shelf).batches([ref_of(made, n) for n, made in enumerate(shelf.chunks)])
    assert [next(batches)["n"][0].as_py() for _ in range(3)] == [0, 10, 20]
    with pytest.raises(ChunkMissingError, match="chunk 3 is gone"):
        next(batches)


def test_a_reader_that_stops_early_leaves_no_running_thread() -> None:
    shelf = Shelf([chunk(n) for n in range(200)])
    batches = scan(shelf, decode_threads=2).batches([ref_of(made, n) for n, made in enumerate(shelf.chunks)])
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    deadline = threading.Event()
    for _ in range(400):
        if not any(t.name.startswith("millrace-read") for t in threading.enumerate()):
            break
        deadline.wait(0.05)
    assert not any(t.name.startswith("millrace-read") for t in threading.enumerate())


def test_cached_chunks_are_not_fetched_and_both_sources_are_counted() -> None:
    shelf = Shelf([chunk(n) for n in range(4)])
    refs = [ref_of(made, n) for n, made in enumerate(shelf.chunks)]
    cache = Cache()
    for n in (0, 2):
        cache.put(refs[n], [tile.stored for tile in shelf.chunks[n].tiles])
    reading = scan(shelf, cache)
    assert [n for b in reading.batches(refs) for n in b["n"].to_pylist()] == list(range(40))
    assert sorted(shelf.fetched) == [1, 3]
    assert (reading.stats.redis, reading.stats.cassandra) == (2, 2)


@pytest.mark.parametrize("what", ["flipped", "swapped", "cut"])
def test_damaged_cache_entries_are_rejected_and_fetched_from_the_store(what: str) -> None:
    shelf = Shelf([chunk(0), chunk(1)])
    refs = [ref_of(made, n) for n, made in enumerate(shelf.chunks)]
    cache = Cache()
    tiles = [tile.stored for tile in shelf.chunks[0].tiles]
    other = [tile.stored for tile in shelf.chunks[1].tiles]
    wrong = {"flipped": bytes([tiles[0][0] ^ 1]) + tiles[0][1:], "swapped": other[0], "cut": tiles[0][:-1]}[what]
    cache.put(refs[0], [wrong, tiles[1]])
    reading = scan(shelf, cache)
    (batch,) = reading.batches(refs[:1])
    assert batch["n"].to_pylist() == list(range(10))
    assert reading.stats.rejected_by_checksum == 1
    assert reading.stats.cassandra == 1


def test_only_whole_chunks_fill_the_cache_and_only_on_request() -> None:
    shelf = Shelf([chunk(0)])
    refs = [ref_of(shelf.chunks[0], 0)]
    for fill, columns, kept in ((False, None, 0), (True, [0], 0), (True, None, 1)):
        cache = Cache()
        list(scan(shelf, cache, columns, fill_cache=fill).batches(refs))
        assert len(cache.kept) == kept


def test_valid_tiles_with_another_number_of_rows_than_the_chunk_are_refused() -> None:
    made = chunk(0)
    ref = ref_of(made, 0)
    false_ref = ChunkRef(ref.dataset, ref.attempt_id, 0, 0, 11, ref.tiles)
    with pytest.raises(ChunkFormatError, match="holds 10 rows, its manifest records 11"):
        list(scan(Shelf([made])).batches([false_ref]))


def test_wrong_bytes_from_the_store_are_refused() -> None:
    made = chunk(0)
    shelf = Shelf([chunk(1)])
    with pytest.raises(ChecksumMismatchError):
        list(scan(shelf).batches([ref_of(made, 0)]))


@pytest.mark.parametrize("columns", [None, [1]])
def test_repeated_text_counts_with_its_decoded_size(columns: list[int] | None) -> None:
    """The stored dictionary is 30 times smaller than the rows, which is known only after the first chunks."""
    text = [f"{n % 50:060d}" for n in range(50_000)]
    batch = pa.RecordBatch.from_pydict({"n": [0] * 50_000, "text": text}, schema=SCHEMA)
    (made,) = encode_row_group(batch, ChunkSettings(row_group_bytes=1), LAYOUT)
    decoded = 50_000 * 64
    assert made.raw_bytes * 10 < decoded
    requested = 0

    def refs() -> Any:
        nonlocal requested
        for number in range(300):
            requested += 1
            yield ref_of(made, 0, bucket=number)

    batches = scan(Shelf([made]), columns=columns, window_bytes=5_000_000, decode_threads=2).batches(refs())
    for consumed in range(1, 100):
        next(batches)
        assert (requested - consumed) * decoded <= 4 * 5_000_000 + 6 * decoded
    batches.close()  # type: ignore[attr-defined]


def test_a_single_chunk_is_decoded_by_two_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    schema = pa.schema([(f"c{i}", pa.int64()) for i in range(7)])
    layout = TileLayout.for_schema(schema)
    rows = pa.RecordBatch.from_arrays([pa.array([i, i + 1]) for i in range(7)], schema=schema)
    (made,) = encode_row_group(rows, ChunkSettings(row_group_bytes=1), layout)
    at_work: set[str] = set()

    def watched(*args: Any, **kwargs: Any) -> pa.RecordBatch:
        at_work.add(threading.current_thread().name.rpartition("_")[0])
        return decode_tile(*args, **kwargs)

    monkeypatch.setattr("millrace.store.catalogue.manifest.decode_tile", watched)
    one = Scan(ChunkSource(Shelf([made]), None, ChunkDecoder(schema, layout, None)), ReadSettings())
    [back] = list(one.batches([ref_of(made, 0)]))
    assert back.equals(rows)
    assert at_work == {"millrace-read", "millrace-tiles"}


@pytest.mark.parametrize("bad", range(4))
def test_a_damaged_tile_is_refused_in_every_decoding_thread(bad: int) -> None:
    schema = pa.schema([(f"c{i}", pa.int64()) for i in range(4)])
    layout = TileLayout.for_schema(schema)
    rows = pa.RecordBatch.from_arrays([pa.array([i, i + 1]) for i in range(4)], schema=schema)
    (made,) = encode_row_group(rows, ChunkSettings(row_group_bytes=1), layout)
    tiles = list(made.tiles)
    tiles[bad] = replace(tiles[bad], stored=b"?" + tiles[bad].stored[1:])
    damaged = replace(made, tiles=tuple(tiles))
    source = ChunkSource(Shelf([damaged]), None, ChunkDecoder(schema, layout, None))
    with pytest.raises(ChecksumMismatchError, match=f"tile {bad}"):
        list(Scan(source, ReadSettings()).batches([ref_of(made, 0)]))


@pytest.mark.parametrize("columns", [None, [0]])
def test_the_first_batch_fetches_one_chunk_and_the_second_reads_ahead(columns: list[int] | None) -> None:
    shelf = Shelf([chunk(n) for n in range(30)])
    refs = (ref_of(made, n) for n, made in enumerate(shelf.chunks))
    batches = scan(shelf, columns=columns, decode_threads=4).batches(refs, ahead=False)
    assert next(batches)["n"].to_pylist() == list(range(10))
    assert shelf.fetched == [0]
    numbers_of_chunks = [next(batches)["n"].to_pylist()]
    assert len(shelf.fetched) > 2
    numbers_of_chunks += [batch["n"].to_pylist() for batch in batches]
    assert [n for numbers in numbers_of_chunks for n in numbers] == list(range(10, 300))


@pytest.mark.parametrize("columns", [None, [0]])
def test_the_first_batch_is_returned_before_the_next_chunk_is_located(columns: list[int] | None) -> None:
    """The next chunk may be pages away, and its error is raised only at its position."""
    shelf = Shelf([chunk(n) for n in range(3)])
    looked: list[int] = []

    def refs() -> Any:
        for number, made in enumerate(shelf.chunks):
            looked.append(number)
            if number == 1:
                raise ChunkMissingError("the next page is gone")
            yield ref_of(made, number)

    batches = scan(shelf, columns=columns).batches(refs(), ahead=False)
    assert next(batches).num_rows == 10
    assert looked == [0]
    with pytest.raises(ChunkMissingError):
        next(batches)
