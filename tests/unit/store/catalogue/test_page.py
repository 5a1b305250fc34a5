from __future__ import annotations

import gzip
from uuid import UUID

import pyarrow as pa
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.chunks import compute_stats
from millrace.errors import ChecksumMismatchError, ChunkFormatError
from millrace.store.catalogue.manifest import ChunkRef, PageRef, TileRef
from millrace.store.catalogue.page import decode_page, encode_page

WRITER = UUID(int=7)

tiles = st.builds(
    TileRef,
    codec=st.sampled_from(["gzip", "zstd", "none"]),
    raw_bytes=st.integers(1, 2**30),
    stored_bytes=st.integers(1, 5_000_000),
    stored_checksum=st.binary(min_size=16, max_size=16),
    raw_checksum=st.binary(min_size=8, max_size=8),
)
refs = st.lists(
    st.builds(
        ChunkRef,
        dataset=st.just("flights"),
        attempt_id=st.just(WRITER),
        bucket=st.integers(0, 2**31 - 1),
        chunk=st.integers(0, 2**31 - 1),
        rows=st.integers(0, 2**40),
        tiles=st.lists(tiles, max_size=4).map(tuple),
    ),
    min_size=1,
    max_size=5,
)
values = st.lists(st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)), min_size=1, max_size=4)


def page_ref(data: bytes, checksum: bytes | None = None) -> PageRef:
    return PageRef(WRITER, 3, 1, 1, 1, 1, xxhash.xxh3_128_digest(data) if checksum is None else checksum)


@settings(max_examples=40)
@given(refs, st.lists(values, min_size=5, max_size=5))
def test_a_page_survives_encoding_and_decoding(chunks: list[ChunkRef], columns: list[list[int | None]]) -> None:
    stats = [
        compute_stats(pa.RecordBatch.from_pydict({"x": pa.array(column, pa.int64()), "t": ["a"] * len(column)}))
        for column in columns[: len(chunks)]
    ]
    data, checksum = encode_page(chunks, stats)
    page = decode_page("flights", page_ref(data, checksum), data)
    assert page.refs() == chunks
    assert page.refs([len(chunks) - 1, 0]) == [chunks[-1], chunks[0]]
    assert page.refs([]) == []
    assert page.largest_chunk_bytes == max(chunk.stored_bytes for chunk in chunks)
    assert page.stats_batch().to_pylist() == [row for batch in stats for row in batch.to_pylist()]
    assert page.row_counts() == [chunk.rows for chunk in chunks]


def test_a_page_of_chunks_without_columns_keeps_their_number() -> None:
    chunks = [ChunkRef("flights", WRITER, 0, n, 5, ()) for n in range(3)]
    stats = [compute_stats(pa.RecordBatch.from_pylist([{}, {}], schema=pa.schema([]))) for _ in chunks]
    data, checksum = encode_page(chunks, stats)
    assert decode_page("flights", page_ref(data, checksum), data).refs() == chunks


def a_page() -> bytes:
    tile = TileRef("gzip", 10, 5, b"c" * 16, b"r" * 8)
    batch = pa.RecordBatch.from_pydict({"x": [1, 2]})
    return encode_page([ChunkRef("flights", WRITER, 1, 2, 2, (tile,))], [compute_stats(batch)])[0]


@given(st.data())
def test_a_page_with_any_bit_flipped_is_refused_by_its_checksum(data: st.DataObject) -> None:
    page = bytearray(a_page())
    ref = page_ref(bytes(page))
    position = data.draw(st.integers(0, len(page) - 1))
    page[position] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(ChecksumMismatchError, match="page 3 of flights/000000000000 has a wrong checksum") as caught:
        decode_page("flights", ref, bytes(page))
    assert caught.value.context["stage"] == "stored"


@pytest.mark.parametrize("cut", [0, 1, 10, -1])
def test_a_page_that_is_cut_short_is_refused_even_with_a_fitting_checksum(cut: int) -> None:
    page = a_page()[:cut]
    with pytest.raises(ChunkFormatError, match="cut short"):
        decode_page("flights", page_ref(page), page)


def test_bytes_after_the_end_of_a_page_are_refused() -> None:
    page = a_page() + b"x"
    with pytest.raises(ChunkFormatError, match="too long"):
        decode_page("flights", page_ref(page), page)


def test_a_page_that_inflates_past_the_limit_is_refused() -> None:
    page = gzip.compress(bytes(200_000), 1)
    with pytest.raises(ChunkFormatError):
        decode_page("flights", page_ref(page), page, raw_bytes_max=100_000)


def test_the_data_of_another_page_is_refused() -> None:
    one, other = a_page(), encode_page([ChunkRef("flights", WRITER, 9, 9, 1, ())], [compute_stats(_batch())])[0]
    with pytest.raises(ChecksumMismatchError):
        decode_page("flights", page_ref(one), other)


def _batch() -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({"x": [1]})
