"""Layouts and row groups of prepared training data."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.arrow import held_bytes
from millrace.chunks import (
    PREPARED_CHUNK_BYTES,
    ChunkSettings,
    TileLayout,
    encode_row_group,
    prepared_grouper,
    prepared_layout,
    prepared_row_group_bytes,
)
from millrace.errors import ChunkFormatError

TYPES = [pa.float32(), pa.float64(), pa.uint16(), pa.bool_(), pa.string(), pa.list_(pa.float32(), 3)]


def schema_of(*runs: tuple[pa.DataType, int]) -> pa.Schema:
    types = [type_ for type_, count in runs for _ in range(count)]
    return pa.schema([(f"c{number}", type_) for number, type_ in enumerate(types)])


def test_features_of_one_type_are_one_matrix_and_other_columns_have_tiles_of_their_own() -> None:
    schema = schema_of((pa.int64(), 2), (pa.bool_(), 1), (pa.float32(), 3), (pa.uint16(), 2), (pa.bool_(), 2))
    layout = prepared_layout(schema, [f"c{number}" for number in range(3, 10)])
    assert layout.columns == ((0,), (1,), (2,), (3, 4, 5), (6, 7), (8,), (9,))
    assert layout.matrices == {3, 4}


def test_a_single_feature_and_a_column_that_is_no_feature_are_in_no_matrix() -> None:
    layout = prepared_layout(schema_of((pa.float32(), 3), (pa.float64(), 1)), ["c0", "c2", "c3"])
    assert layout == TileLayout(((0,), (1,), (2,), (3,)))


@given(
    runs=st.lists(st.tuples(st.sampled_from(TYPES), st.integers(1, 90)), max_size=80),
    chosen=st.randoms(use_true_random=False),
)
def test_any_layout_has_at_most_64_tiles_and_matrices_of_one_type(runs: Any, chosen: Any) -> None:
    schema = schema_of(*runs)
    features = [name for name in schema.names if chosen.random() < 0.9]
    layout = prepared_layout(schema, features)
    assert layout.column_count == len(schema)
    assert len(layout.columns) <= 64
    for tile in layout.matrices:
        columns = layout.columns[tile]
        assert len(columns) >= 2
        assert {schema.field(column).type for column in columns} in ({kind} for kind in TYPES[:3])
        assert {schema.field(column).name for column in columns} <= set(features)
    assert TileLayout.from_json(json.loads(json.dumps(layout.to_json())), sorted(layout.matrices)) == layout


def test_a_layout_of_matrices_begins_with_itself_only() -> None:
    layout = TileLayout(((0, 1), (2, 3)), frozenset([0]))
    wider = layout.extended(5)
    assert wider.matrices == {0}
    assert wider.begins_with(layout)
    assert not wider.begins_with(TileLayout(((0, 1),)))
    assert not TileLayout(((0, 1), (2, 3))).begins_with(layout)
    assert wider.begins_with(TileLayout(((0, 1),), frozenset([0])))


@pytest.mark.parametrize("matrices", [{1}, {-1}])
def test_a_matrix_that_is_no_tile_is_refused(matrices: set[int]) -> None:
    with pytest.raises(ChunkFormatError, match="a matrix is a tile with columns"):
        TileLayout(((0, 1),), frozenset(matrices))


@pytest.mark.parametrize("codec", ["gzip", "none"])
@pytest.mark.parametrize("nulls", [0, 0.5])
def test_a_chunk_of_noise_decodes_to_4_to_8_mb_and_is_not_halved(codec: str, nulls: float) -> None:
    rng = np.random.default_rng(0)
    rows, least_most = 100_000, PREPARED_CHUNK_BYTES
    columns: dict[str, Any] = {"id": rng.integers(0, 2**62, rows), "day": [f"{n:x}" for n in range(rows)]}
    columns["curve"] = pa.FixedSizeListArray.from_arrays(pa.array(rng.random(3 * rows), pa.float32()), 3)
    for number in range(20):
        columns[f"f{number}"] = pa.array(rng.random(rows), pa.float32(), mask=rng.random(rows) < nulls)
    for number in range(20):
        columns[f"u{number}"] = pa.array(rng.integers(0, 255, rows), pa.uint8(), mask=rng.random(rows) < nulls)
    batch = pa.record_batch(columns)
    settings = ChunkSettings(codec, row_group_bytes=prepared_row_group_bytes(batch.schema))
    layout = prepared_layout(batch.schema, batch.schema.names[3:])
    assert len(layout.matrices) == 2
    grouper = prepared_grouper(settings, batch.schema)
    groups = [*grouper.feed(batch), *grouper.finish()]
    chunks = [encode_row_group(group, settings, layout) for group in groups]
    assert [len(each) for each in chunks] == [1] * len(groups)
    sizes = [held_bytes(group.to_batch()) for group in groups[:-1]]
    assert len(sizes) >= 2
    assert all(least_most[0] <= size <= least_most[1] for size in sizes)


def test_a_wide_schema_leaves_room_for_its_headers() -> None:
    wide = pa.schema([(f"c{number}", pa.float64()) for number in range(5000)])
    assert PREPARED_CHUNK_BYTES[0] < prepared_row_group_bytes(wide) < prepared_row_group_bytes(pa.schema([]))


def test_the_groups_do_not_depend_on_the_batches() -> None:
    table = pa.record_batch({"a": np.arange(1000, dtype=np.int8), "t": ["x" * (n % 50) for n in range(1000)]})
    found = []
    for size in (1, 7, 1000):
        grouper = prepared_grouper(ChunkSettings(row_group_bytes=400), table.schema)
        parts = [table.slice(first, size) for first in range(0, 1000, size)]
        groups = [group for part in parts for group in grouper.feed(part)]
        found.append([group.num_rows for group in (*groups, *grouper.finish())])
    assert found[0] == found[1] == found[2]
