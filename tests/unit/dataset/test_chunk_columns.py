"""Where the columns of a version are in batches that keep matrices together."""

from __future__ import annotations

import pyarrow as pa
import pytest

from millrace.chunks import TileLayout
from millrace.dataset import ColumnPlace
from millrace.dataset.chunk_columns import ChunkColumns
from millrace.errors import UsageError

SCHEMA = pa.schema({"id": pa.int64(), "a": pa.float32(), "b": pa.float32(), "t": pa.string()})
LAYOUT = TileLayout(((0,), (1, 2), (3,)), frozenset([1]))


def test_a_matrix_comes_after_the_single_columns_and_is_whole() -> None:
    columns = ChunkColumns.of(SCHEMA, LAYOUT, [2, 3])
    assert columns.schema(SCHEMA).types == [pa.string(), pa.list_(pa.float32(), 2)]
    assert columns.places(SCHEMA) == {"t": ColumnPlace(0), "a": ColumnPlace(1, 0), "b": ColumnPlace(1, 1)}


def test_without_matrices_each_column_is_by_itself() -> None:
    columns = ChunkColumns.of(SCHEMA, TileLayout(((0, 1, 2, 3),)), None)
    assert columns.schema(SCHEMA).equals(SCHEMA)
    assert not columns.matrices


def test_a_matrix_of_a_narrower_type_is_widened_and_a_missing_one_is_null() -> None:
    columns = ChunkColumns.of(SCHEMA, LAYOUT, [1])
    narrow = pa.array([[1, None], [3, 4]], pa.list_(pa.int8(), 2))
    [matrix] = columns.matrix_arrays({1: pa.record_batch([narrow], ["matrix"])}, SCHEMA, 2)
    assert matrix.type == pa.list_(pa.float32(), 2)
    assert matrix.to_pylist() == [[1, None], [3, 4]]
    [missing] = columns.matrix_arrays({}, SCHEMA, 3)
    assert missing.to_pylist() == [[None, None]] * 3


def test_two_columns_of_one_name_have_no_place() -> None:
    schema = pa.schema([pa.field("a", pa.int64()), *list(SCHEMA)[1:]])
    with pytest.raises(UsageError, match="two columns have the same name"):
        ChunkColumns.of(schema, LAYOUT, None).places(schema)
