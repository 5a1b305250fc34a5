"""The faults of pyarrow that are worked around: each test shows the fault, and the right result of the workaround.

A test fails when the installed version has no such fault any more. The workaround can then be removed once the oldest
supported version has none either.
"""

from __future__ import annotations

import io
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.json as pa_json
import pyarrow.parquet as pq
import pytest

from millrace.compat.pyarrow.csv import keep_mark
from millrace.compat.pyarrow.ipc import appendable_dictionary
from millrace.compat.pyarrow.json import with_complete_lists
from millrace.compat.pyarrow.nested import fixed_size_lists, nulls_of, union_of, union_parts
from millrace.compat.pyarrow.parquet import has_null_of_fixed_size, is_writable, unwritable_type


def test_the_codes_and_offsets_of_a_slice_of_a_union_are_its_own() -> None:
    codes, offsets = pa.array([0, 1, 0, 1], pa.int8()), pa.array([0, 0, 1, 1], pa.int32())
    part = pa.UnionArray.from_dense(codes, offsets, [pa.array([1, 2]), pa.array(["a", "b"])]).slice(1, 2)
    assert part.type_codes.to_pylist() != [1, 0]
    assert [numbers.tolist() for numbers in union_parts(part)] == [[1, 0], [0, 1]]


@pytest.mark.parametrize("mode", ["dense", "sparse"])
def test_a_union_keeps_the_nullability_and_metadata_of_its_fields(mode: str) -> None:
    type_ = pa.union([pa.field("a", pa.int64(), nullable=False, metadata={"unit": "m"})], mode, [5])
    codes, offsets, values = np.array([5, 5], np.int8), np.array([0, 1], np.int32), pa.array([1, 2])
    if mode == "dense":
        stock = pa.UnionArray.from_dense(pa.array(codes), pa.array(offsets), [values], ["a"], [5])
    else:
        stock = pa.UnionArray.from_sparse(pa.array(codes), [values], ["a"], [5])
    assert not stock.type.equals(type_, check_metadata=True)
    union = union_of(type_, codes, offsets, [values])
    union.validate(full=True)
    assert union.type.equals(type_, check_metadata=True)
    assert union.to_pylist() == [1, 2]


@pytest.mark.parametrize("type_", [pa.struct([("runs", pa.run_end_encoded(pa.int32(), pa.int64()))])], ids=str)
def test_nulls_above_runs_are_valid(type_: pa.DataType) -> None:
    with pytest.raises(pa.ArrowInvalid):
        pa.nulls(3, type_).validate(full=True)
    nulls_of(3, type_).validate(full=True)
    assert nulls_of(3, type_).to_pylist() == [None] * 3


@pytest.mark.parametrize(("mask", "rows"), [([], []), ([False, True], [[], None])])
def test_lists_of_fixed_size_zero_keep_their_number(mask: list[bool], rows: list[Any]) -> None:
    # The stock function ends the process.
    lists = fixed_size_lists(pa.list_(pa.int8(), 0), len(mask), pa.array([1], pa.int8()), pa.array(mask, pa.bool_()))
    lists.validate(full=True)
    assert lists.to_pylist() == rows


def test_an_empty_dictionary_of_a_file_can_be_appended_to() -> None:
    def written(first: pa.Array) -> list[Any]:
        sink, second = pa.BufferOutputStream(), pa.array(["a"])
        type_ = pa.dictionary(pa.int8(), pa.string())
        values = pa.concat_arrays([first, second])
        with pa.ipc.new_file(
            sink, pa.schema([("x", type_)]), options=pa.ipc.IpcWriteOptions(emit_dictionary_deltas=True)
        ) as file:
            for indices, dictionary in (([None], first), ([len(first)], values)):
                column = pa.DictionaryArray.from_arrays(pa.array(indices, pa.int8()), dictionary)
                file.write_batch(pa.record_batch([column], ["x"]))
        return list(pa.ipc.open_file(sink.getvalue()).read_all()["x"].to_pylist())

    none = pa.array([], pa.string())
    with pytest.raises(pa.ArrowInvalid, match="Dictionary replacement"):
        written(none)
    assert written(appendable_dictionary(none)) == [None, "a"]


def test_lists_of_nulls_in_json_are_as_long_as_their_offsets() -> None:
    schema = pa.schema([("x", pa.list_(pa.null()))])
    [batch] = pa_json.read_json(
        io.BytesIO(b'{"x":[null,null]}\n{"x":[null]}\n'), parse_options=pa_json.ParseOptions(explicit_schema=schema)
    ).to_batches()
    with pytest.raises(pa.ArrowInvalid):
        batch.validate(full=True)
    complete = with_complete_lists(batch)
    complete.validate(full=True)
    assert complete.column(0).to_pylist() == [[None, None], [None]]


def test_a_byte_order_mark_that_begins_a_block_is_a_character_of_it() -> None:
    def read(data: bytes) -> list[Any]:
        options = pa_csv.ReadOptions(column_names=["x"])
        return list(pa_csv.read_csv(io.BytesIO(data), read_options=options)["x"].to_pylist())

    data = "\ufeffa\n".encode()
    assert read(data) == ["a"]
    assert read(keep_mark(data)) == ["\ufeffa"]
    assert keep_mark(b"a\n") == b"a\n"


def test_a_date_that_parquet_stores_as_another_one_is_found() -> None:
    far = pa.array([0, 86_400_000 * 2**32], pa.int64()).view(pa.date64())
    sink = io.BytesIO()
    pq.write_table(pa.table({"x": far}), sink)
    assert not pq.read_table(sink)["x"].cast(pa.date64(), safe=False).chunk(0).equals(far)
    assert unwritable_type(far) == pa.date64()
    assert unwritable_type(pa.StructArray.from_arrays([far], ["y"])) == pa.date64()
    assert unwritable_type(pa.array([date(2020, 1, 1)], pa.date64())) is None


def test_a_null_in_place_of_a_list_of_fixed_size_is_found(tmp_path: Path) -> None:
    type_ = pa.list_(pa.int64(), 2)
    lists = pa.array([[1, 2], None], type_)
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"x": lists}), path)
    with pytest.raises(pa.ArrowException):
        pq.read_table(path)
    assert has_null_of_fixed_size(lists)
    assert not has_null_of_fixed_size(lists.slice(0, 1))


def test_a_dictionary_of_views_is_not_writable_to_parquet() -> None:
    type_ = pa.dictionary(pa.int8(), pa.string_view())
    with pq.ParquetWriter(pa.BufferOutputStream(), pa.schema([("x", type_)])):
        pass  # the stock writer accepts the schema, and refuses the first rows
    assert not is_writable(type_)
    assert is_writable(pa.dictionary(pa.int8(), pa.string()))
