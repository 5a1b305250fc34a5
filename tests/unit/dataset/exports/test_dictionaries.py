"""Dictionaries that differ between batches, with values of every type, in one Arrow file."""

from __future__ import annotations

import io
import struct
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from millrace.arrow.equality import same_values
from millrace.arrow.selection import taken
from millrace.dataset.exports.dictionaries import Dictionaries, DictionaryError
from millrace.dataset.exports.writers import WRITERS
from millrace.errors import UsageError

NAN, OTHER_NAN = struct.unpack("<2d", struct.pack("<2Q", 0x7FF8000000000000, 0x7FF8000000000001))
INTERVAL = pa.struct([("left", pa.int64()), ("right", pa.int64())])
VALUES: dict[str, list[pa.Array]] = {
    "struct": [pa.array([{"left": 0, "right": 10}, {"left": 10, "right": 20}]), pa.array([{"left": 10, "right": 20}])],
    "list": [pa.array([[1, 2], [3]], pa.list_(pa.int16())), pa.array([[3], None, []], pa.list_(pa.int16()))],
    "map": [pa.array([[(word, 1)]], pa.map_(pa.string(), pa.int8())) for word in "ab"],
    "null": [pa.nulls(0), pa.nulls(2)],
    "nothing first": [pa.array([], pa.string()), pa.array(["a"])],
    "text with a null": [pa.array(["a", None]), pa.array(["b", "a", None])],
    "equal words": [pa.array(["a", "a"]), pa.array(["b", "a", "b"])],
    "views": [pa.array(["a", "long " * 9], pa.string_view()), pa.array(["b", "a"], pa.string_view())],
    "bytes": [pa.array([b"\0a", b""]), pa.array([b"\xff", b""])],
    "fixed bytes": [pa.array([b"ab"], pa.binary(2)), pa.array([b"cd", b"ab"], pa.binary(2))],
    "floats": [pa.array([0.0, NAN]), pa.array([-0.0, OTHER_NAN, NAN])],
    "halves": [pa.array(values, pa.float32()).cast(pa.float16()) for values in ([0.0, 1.5], [-0.0])],
    "decimals": [pa.array([Decimal(value)], pa.decimal256(50, 2)) for value in ("1.00", "2.00")],
    "months": [pa.array([pa.MonthDayNano([1, 2, 3])]), pa.array([pa.MonthDayNano([1, 2, 4])])],
    "moments": [pa.array([2**62], pa.timestamp("us", "UTC")), pa.array([2**62 + 1], pa.timestamp("us", "UTC"))],
    "booleans": [pa.array([True]), pa.array([False, True])],
    "structs of floats": [pa.array([{"a": 0.0}]), pa.array([{"a": -0.0}, {"a": NAN}])],
}  # fmt: skip


def coded(values: pa.Array, index: pa.DataType, *, ordered: bool = False) -> pa.Array:
    """Return a dictionary array with every value once, and a null."""
    return pa.DictionaryArray.from_arrays(pa.array([*range(len(values)), None], index), values, ordered=ordered)


def inside(column: pa.Array, shape: str) -> pa.Array:
    """Nest the rows of ``column`` within another type; some shapes have rows without values."""
    ends = pa.array([0, len(column), len(column)], pa.int32())
    if shape == "struct":
        return pa.StructArray.from_arrays([column], ["x"], mask=pa.array([False] * (len(column) - 1) + [True]))
    if shape == "list":
        return pa.ListArray.from_arrays(ends, column)
    if shape == "view":
        sizes = pa.array([len(column), len(column)], pa.int32())
        return pa.ListViewArray.from_arrays(pa.array([0, 0], pa.int32()), sizes, column)
    if shape == "fixed":
        return pa.FixedSizeListArray.from_arrays(column, len(column))
    if shape == "map":
        return pa.MapArray.from_arrays(ends, pa.array([str(i) for i in range(len(column))]), column)
    if shape == "union":
        codes, places = pa.array(np.zeros(len(column)), pa.int8()), pa.array(np.arange(len(column)), pa.int32())
        return pa.UnionArray.from_dense(codes, places, [column, pa.nulls(0)])
    if shape == "runs":
        return pa.RunEndEncodedArray.from_arrays(pa.array(np.arange(len(column)) + 1, pa.int32()), column)
    return column


def written(format_: str, batches: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
    sink = io.BytesIO()
    writer = WRITERS[format_](pa.PythonFile(sink, mode="w"), batches[0].schema)
    for batch in batches:
        writer.write(batch)
    writer.close()
    opened: Any = pa.ipc.open_file if format_ == "arrow" else pa.ipc.open_stream
    reader = opened(sink.getvalue())
    if format_ == "arrow":
        return [reader.get_batch(number) for number in range(reader.num_record_batches)]
    return list(reader)


@pytest.mark.parametrize("shape", ["plain", "struct", "list", "view", "fixed", "map", "union", "runs"])
@pytest.mark.parametrize("what", VALUES)
@pytest.mark.parametrize("format_", ["arrow", "arrows"])
def test_values_of_every_type_share_one_dictionary_and_are_bitwise_unchanged(
    what: str, shape: str, format_: str
) -> None:
    first, second = VALUES[what]
    if shape == "fixed":
        second = taken(first, list(range(len(first)))[::-1])
    arrays = [inside(coded(values, pa.int8(), ordered=True), shape) for values in (first, second, first)]
    batches = [pa.record_batch([array], ["c"]) for array in [*arrays, arrays[1].slice(1), arrays[0].slice(1, 1)]]
    batches = [batch for batch in batches if batch.num_rows]
    back = written(format_, batches)
    assert [batch.num_rows for batch in back] == [batch.num_rows for batch in batches]
    for mine, theirs in zip(back, batches, strict=True):
        assert mine.schema.equals(theirs.schema)
        mine.validate(full=True)
        assert same_values(mine.column(0), theirs.column(0))


def test_equal_dictionaries_are_written_once_and_shared() -> None:
    """The second batch gets the dictionary of the first, without a copy or a lookup of values."""
    values = pa.array([{"left": 0, "right": 10}, {"left": 10, "right": 20}])
    batches = [pa.record_batch([coded(pa.concat_arrays([values]), pa.int8())], ["c"]) for _ in range(2)]
    dictionaries = Dictionaries()
    first, second = (dictionaries.joined(batch).column(0) for batch in batches)
    assert second.dictionary.field(0).buffers()[1].address == first.dictionary.field(0).buffers()[1].address
    assert second.dictionary.equals(values)


def test_empty_lists_keep_the_dictionary() -> None:
    full = inside(coded(pa.array(["a", "b"]), pa.int8()), "list")
    empty = pa.array([[], None], full.type)
    batches = [pa.record_batch([column], ["c"]) for column in (full, empty, full)]
    assert [batch.to_pylist() for batch in written("arrow", batches)] == [
        [{"c": ["a", "b", None]}, {"c": []}], [{"c": []}, {"c": None}], [{"c": ["a", "b", None]}, {"c": []}],
    ]  # fmt: skip


def nested(word: str) -> pa.RecordBatch:
    inner = pa.StructArray.from_arrays([coded(pa.array([word]), pa.int8())], ["word"])
    return pa.record_batch([coded(inner, pa.int8())], ["c"])


def test_nested_dictionaries_are_written_to_a_file_if_equal_and_to_a_stream_always() -> None:
    assert [batch.to_pylist() for batch in written("arrow", [nested("a"), nested("a")])] == [
        nested("a").to_pylist()
    ] * 2
    with pytest.raises(UsageError, match=r"cannot hold column 'c': its dictionaries hold dictionaries.*\.arrows"):
        written("arrow", [nested("a"), nested("b")])
    assert [b.to_pylist() for b in written("arrows", [nested("a"), nested("b")])] == [
        nested(w).to_pylist() for w in "ab"
    ]


def test_too_many_values_for_one_dictionary_are_refused_with_the_column() -> None:
    joined = Dictionaries()
    first = pa.record_batch([coded(pa.array(range(100)), pa.int8())], ["odd"])
    joined.joined(first)
    with pytest.raises(DictionaryError) as caught:
        joined.joined(pa.record_batch([coded(pa.array(range(100, 129)), pa.int8())], ["odd"]))
    assert caught.value.args == ("odd", "129 different values are more than indices of int8 count")


def test_a_dictionary_may_use_every_index_of_its_type() -> None:
    halves = [pa.record_batch([coded(pa.array(range(a, a + 64)), pa.int8())], ["c"]) for a in (0, 64)]
    assert [batch.to_pylist() for batch in written("arrow", halves)] == [batch.to_pylist() for batch in halves]
    quarters = [pa.record_batch([coded(pa.array(range(a, a + 128)), pa.uint8())], ["c"]) for a in (0, 128)]
    assert [batch.to_pylist() for batch in written("arrow", quarters)] == [batch.to_pylist() for batch in quarters]
