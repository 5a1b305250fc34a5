from __future__ import annotations

import gzip
from uuid import UUID, uuid4

import numpy as np
import pyarrow as pa
import pytest
import xxhash

from millrace.chunks import compute_stats
from millrace.errors import ChecksumMismatchError, ChunkFormatError
from millrace.store.catalogue.manifest import PageRef
from millrace.store.catalogue.page_list import (
    ListRef,
    decode_list,
    decode_pages_blob,
    encode_list,
    encode_pages_blob,
    list_pages_max,
)


def page(number: int) -> PageRef:
    return PageRef(uuid4(), number, 2, 30, 400, 50, bytes([number]) * 16, f"{number}-abcdef")


def stats_of(*columns: list[int | str | None]) -> pa.RecordBatch:
    rows = [compute_stats(pa.RecordBatch.from_pydict({"x": column})) for column in columns]
    return pa.Table.from_batches(rows).combine_chunks().to_batches()[0]


def list_ref(data: bytes, pages: int) -> ListRef:
    return ListRef(UUID(int=9), -3, pages, xxhash.xxh3_128_digest(data))


def test_a_list_survives_encoding_and_decoding() -> None:
    pages, stats = [page(0), page(1), page(2)], stats_of([1, 2], [None, 7], [5])
    data = encode_list(pages, stats)
    decoded = decode_list("flights", list_ref(data, 3), data)
    assert decoded.refs == tuple(pages)
    assert decoded.stats.to_pylist() == stats.to_pylist()
    assert gzip.decompress(data)


def test_a_list_without_columns_keeps_its_pages() -> None:
    pages = [page(0), page(1)]
    data = encode_list(pages, pa.RecordBatch.from_struct_array(pa.array([{}, {}], pa.struct([]))))
    assert decode_list("flights", list_ref(data, 2), data).refs == tuple(pages)


def test_a_damaged_list_and_one_of_other_pages_are_refused() -> None:
    data = encode_list([page(0)], stats_of([1]))
    with pytest.raises(ChecksumMismatchError):
        decode_list("flights", list_ref(data, 1), data + b"x")
    with pytest.raises(ChunkFormatError, match="names 1 pages, not 2"):
        decode_list("flights", list_ref(data, 2), data)


def test_a_list_too_large_for_a_page_drops_only_its_bounds() -> None:
    random = np.random.default_rng(1)
    count = list_pages_max(2500)
    pages = [page(n) for n in range(count)]
    rows = [
        compute_stats(pa.RecordBatch.from_pydict({f"c{n}": pa.array([random.bytes(64)]) for n in range(2500)}))
        for _ in pages
    ]
    stats = pa.Table.from_batches(rows).combine_chunks().to_batches()[0]
    data = encode_list(pages, stats)
    assert len(data) <= 1_000_000
    decoded = decode_list("flights", list_ref(data, count), data)
    assert decoded.refs == tuple(pages)
    assert decoded.stats.to_pylist()[0]["c0"] == {"nulls": 0, "min": None, "max": None}


@pytest.mark.parametrize(("columns", "pages"), [(0, 128), (1, 128), (32, 128), (200, 20), (10_000, 8)])
def test_wide_tables_have_fewer_pages_in_a_list(columns: int, pages: int) -> None:
    assert list_pages_max(columns) == pages


def test_a_versions_row_holds_pages_or_lists() -> None:
    pages, lists = [page(0), page(1)], [ListRef(uuid4(), -3, 128, b"c" * 16)]
    assert decode_pages_blob(encode_pages_blob([], pages)) == ([], pages)
    assert decode_pages_blob(encode_pages_blob(lists, [])) == (lists, [])
    assert decode_pages_blob(encode_pages_blob([], [])) == ([], [])
