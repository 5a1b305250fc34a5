"""Loaded data is read back unchanged, for every type and for sizes around the limits."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from millrace.api import Store
from millrace.dataset import Dataset
from millrace.load import LoadOptions
from millrace.sources import SourceOptions
from tests.unit.arrow.arrays import make_array, same, types

PIECE_BYTES = 70_000
CHUNK_BYTES = 65_536

several = settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])


def write_ipc(table: pa.Table, path: Path) -> str:
    with pa.ipc.new_file(path, table.schema) as file:
        file.write_table(table, max_chunksize=1000)
    return str(path)


@several
@given(
    kinds=st.lists(types(), min_size=1, max_size=5),
    rows=st.sampled_from([0, 1, 2, 120]),
    seed=st.integers(0, 2**32),
)
def test_a_table_of_any_arrow_types_comes_back_equal(
    store: Store, tmp_path: Path, kinds: list[pa.DataType], rows: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    names = [f"c{i}" for i in range(len(kinds))]
    table = pa.Table.from_arrays([make_array(kind, rows, rng) for kind in kinds], names=names)
    source = write_ipc(table, tmp_path / "table.arrow")
    report = store.load("any", source)
    found = store.dataset("any").to_table()
    assert found.schema.equals(table.schema)
    assert report.rows == found.num_rows == rows
    found.validate(full=True)
    for mine, theirs in zip(found.to_batches(), table.to_batches(), strict=True):
        assert same(mine, theirs)


def test_schema_and_field_metadata_and_nullability_come_back(store: Store, tmp_path: Path) -> None:
    schema = pa.schema(
        [pa.field("a", pa.int64(), nullable=False, metadata={b"unit": b"m"}), pa.field("b", pa.string())],
        metadata={b"origin": b"a test"},
    )
    source = write_ipc(pa.table({"a": [1, 2], "b": ["x", None]}, schema=schema), tmp_path / "t.arrow")
    store.load("meta", source)
    assert store.dataset("meta").schema.equals(schema, check_metadata=True)


EDGES = [0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 2 * PIECE_BYTES, CHUNK_BYTES, CHUNK_BYTES + 1, 400_001]


@pytest.mark.parametrize("size", EDGES)
@pytest.mark.parametrize("compressible", [True, False])
def test_a_file_of_any_size_comes_back_as_the_same_bytes(
    store: Store, tmp_path: Path, size: int, compressible: bool
) -> None:
    data = bytes(size) if compressible else np.random.default_rng(size).bytes(size)
    folder = tmp_path / "in"
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "deep" / "er" / "file.bin").write_bytes(data)
    (folder / "second").write_bytes(b"second")
    options = LoadOptions(source=SourceOptions(format="bytes", piece_bytes=PIECE_BYTES), chunk_bytes=CHUNK_BYTES)
    store.load("tree", str(folder), options)
    found: dict[str, bytearray] = {}
    for row in store.dataset("tree").to_table().to_pylist():
        piece = found.setdefault(row["path"], bytearray())
        assert row["offset"] == len(piece)
        piece += row["data"] or b""
    assert found == {"deep/er/file.bin": data, "second": b"second"}
    assert all(ref.stored_bytes <= CHUNK_BYTES for ref in store.dataset("tree").refs())


@pytest.mark.parametrize("codec", ["gzip", "zstd", "none"])
def test_every_codec_returns_the_same_rows(store: Store, csv: Callable[..., str], codec: str) -> None:
    store.load("coded", csv(5000), LoadOptions(codec=codec, chunk_bytes=65_536))
    assert store.dataset("coded").to_table()["n"].to_pylist() == list(range(5000))
    codecs = {tile.codec for ref in store.dataset("coded").refs() for tile in ref.tiles}
    # A tile that a codec hardly makes smaller is stored uncompressed.
    assert codecs <= {codec, "none"}
    assert codec in codecs


def test_a_compressed_source_gives_the_same_rows(store: Store, csv: Callable[..., str], tmp_path: Path) -> None:
    packed = tmp_path / "data.csv.gz"
    packed.write_bytes(gzip.compress(Path(csv(3000)).read_bytes()))
    store.load("packed", str(packed))
    assert store.dataset("packed").to_table()["n"].to_pylist() == list(range(3000))


@several
@given(rows=st.integers(0, 150), split_bytes=st.integers(100, 4000), chunk_bytes=st.sampled_from([65_536, 5_000_000]))
def test_a_load_in_splits_keeps_the_rows_and_their_order(
    store: Store, csv: Callable[..., str], rows: int, split_bytes: int, chunk_bytes: int
) -> None:
    options = LoadOptions(source=SourceOptions(split_bytes=split_bytes), chunk_bytes=chunk_bytes)
    plan = store.plan("split", csv(rows), options)
    store.publish(plan, [store.load_split(plan, index) for index in range(len(plan.source.splits))])
    assert store.dataset("split").to_table()["n"].to_pylist() == list(range(rows))


@several
@given(
    bounds=st.tuples(st.integers(-10, 40_010), st.integers(-10, 40_010)),
    columns=st.sampled_from([None, ["text"], ["n", "text"], []]),
)
def test_a_range_filter_returns_exactly_the_matching_rows(
    filtered: Store, bounds: tuple[int, int], columns: list[str] | None
) -> None:
    import pyarrow.compute as pc

    low, high = bounds
    condition = (pc.field("n") >= low) & (pc.field("n") < high)
    table: Any = filtered.dataset("sorted").to_table(columns=columns, filter=condition)
    expected = list(range(max(low, 0), min(high, 40_000)))
    assert table.num_rows == len(expected)
    if columns is None or "n" in columns:
        assert table["n"].to_pylist() == expected


@pytest.fixture
def filtered(store: Store, csv: Callable[..., str]) -> Store:
    """A store with a dataset of several chunks, sorted by ``n``."""
    store.load("sorted", csv(40_000), LoadOptions(chunk_bytes=65_536))
    assert store.version("sorted").chunks > 2
    return store


def loaded(store: Store, tmp_path: Path, table: pa.Table) -> Dataset:
    store.load("made", write_ipc(table, tmp_path / "made.arrow"))
    return store.dataset("made")


def test_filtered_rows_are_taken_from_types_without_an_arrow_take_kernel(store: Store, tmp_path: Path) -> None:
    import pyarrow.compute as pc

    runs = pc.run_end_encode(pa.array([7, 7, 8, 8, 8, 9]))
    table = pa.table({"k": range(6), "v": pa.array(list("abcdef"), pa.string_view()), "r": runs})
    found = loaded(store, tmp_path, table).to_table(filter=pc.field("k").isin([0, 2, 3, 5]))
    assert found.to_pydict() == {"k": [0, 2, 3, 5], "v": list("acdf"), "r": [7, 8, 8, 9]}
    assert found.schema.equals(table.schema)
    found.validate(full=True)


def test_a_column_may_be_selected_twice_with_any_filter(store: Store, tmp_path: Path) -> None:
    import pyarrow.compute as pc

    dataset = loaded(store, tmp_path, pa.table({"x": range(5), "y": range(5)}))
    for condition, rows in ((pc.scalar(True), 5), (pc.field("x") < 3, 3), (None, 5)):
        found = dataset.to_table(["x", "x"], condition)
        assert (found.column_names, found.num_rows) == (["x", "x"], rows)


def test_a_filter_works_on_columns_of_any_name(store: Store, tmp_path: Path) -> None:
    import pyarrow.compute as pc

    names = ["\0row", "\0row0", "is_in(a, {value_set=", "nan", "a.b"]
    dataset = loaded(store, tmp_path, pa.table({name: range(5) for name in names}))
    for name in names:
        assert dataset.to_table(filter=pc.field(name) >= 3)[name].to_pylist() == [3, 4]
        assert dataset.to_table(filter=pc.field(name).isin([1, 4]))[name].to_pylist() == [1, 4]
