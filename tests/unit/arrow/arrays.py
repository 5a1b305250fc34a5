"""Arrow data of every type: hypothesis draws the types and a seed, numpy generates the values."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from hypothesis import strategies as st

TEXTS = ["", "a", "ab", "abc\0", "zz", "é", "日本語", "🙂" * 3, "N12345", "x" * 70, " ", "\n", "\ud7ff", "\uffff"]

PRIMITIVES = [
    pa.null(), pa.bool_(), pa.int8(), pa.int16(), pa.int32(), pa.int64(),
    pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64(), pa.float16(), pa.float32(), pa.float64(),
    pa.decimal32(7, 2), pa.decimal64(15, 3), pa.decimal128(38, 10), pa.decimal256(76, 20),
    pa.date32(), pa.date64(), pa.time32("s"), pa.time32("ms"), pa.time64("us"), pa.time64("ns"),
    *(pa.timestamp(unit) for unit in ("s", "ms", "us", "ns")),
    pa.timestamp("us", "UTC"), pa.timestamp("ns", "Europe/Paris"), pa.timestamp("s", "+05:30"),
    *(pa.duration(unit) for unit in ("s", "ms", "us", "ns")), pa.month_day_nano_interval(),
    pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(), pa.binary_view(),
    pa.binary(1), pa.binary(16), pa.uuid(),
]  # fmt: skip
DICTIONARIES = [
    pa.dictionary(pa.int8(), pa.string()),
    pa.dictionary(pa.int32(), pa.large_string(), ordered=True),
    pa.dictionary(pa.uint16(), pa.int64()),
    pa.dictionary(pa.int64(), pa.timestamp("s")),
]
OTHERS = [
    pa.run_end_encoded(pa.int32(), pa.int64()),
    pa.dense_union([pa.field("i", pa.int64()), pa.field("s", pa.string())]),
    pa.sparse_union([pa.field("i", pa.int64()), pa.field("s", pa.string())]),
]


def _nested(inner: st.SearchStrategy[pa.DataType]) -> st.SearchStrategy[pa.DataType]:
    return st.one_of(
        inner.map(pa.list_),
        inner.map(pa.large_list),
        inner.map(pa.list_view),
        inner.map(lambda t: pa.list_(t, 3)),
        inner.map(lambda t: pa.map_(pa.string(), t)),
        st.lists(inner, min_size=1, max_size=3).map(
            lambda ts: pa.struct([pa.field(f"f{i}", t) for i, t in enumerate(ts)])
        ),
    )


def types() -> st.SearchStrategy[pa.DataType]:
    leaves = st.sampled_from(PRIMITIVES + DICTIONARIES)
    return st.one_of(st.recursive(leaves, _nested, max_leaves=4), st.sampled_from(OTHERS))


def make_array(type_: pa.DataType, length: int, rng: np.random.Generator, nulls: bool = True) -> pa.Array:
    """Return ``length`` values of any type above, with nulls and the edge values of each type."""
    mask = rng.random(length) < rng.choice([0, 0.2, 0.9]) if nulls and length else np.zeros(length, bool)
    return _make(type_, length, rng, mask)


def _make(type_: pa.DataType, n: int, rng: np.random.Generator, mask: Any) -> pa.Array:
    t = pa.types
    if isinstance(type_, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(type_, _make(type_.storage_type, n, rng, mask))
    if t.is_null(type_):
        return pa.nulls(n)
    if t.is_boolean(type_):
        return pa.array(rng.random(n) < 0.5, mask=mask)
    if t.is_floating(type_):
        values = rng.normal(size=n) * 100
        values[rng.random(n) < 0.3] = rng.choice([np.nan, np.inf, -np.inf, -0.0, 0.0, 1.5])
        return pa.array(values, mask=mask).cast(type_, safe=False)
    if t.is_integer(type_):
        info = np.iinfo(str(type_))
        values = rng.choice(np.array([info.min, info.max, 0, 1, 7, 100], dtype=info.dtype), n)
        return pa.array(values, type_, mask=mask)
    if t.is_decimal(type_):
        limit = min(10**type_.precision - 1, 10**15)
        numbers = [Decimal(int(v)).scaleb(-type_.scale) for v in rng.integers(-limit, limit, n)]
        return pa.array([None if m else v for m, v in zip(mask, numbers, strict=True)], type_)
    if t.is_interval(type_):
        numbers = [pa.MonthDayNano([int(a), int(b), int(c)]) for a, b, c in rng.integers(-50, 50, (n, 3))]
        return pa.array([None if m else v for m, v in zip(mask, numbers, strict=True)], type_)
    if t.is_temporal(type_):
        return _temporal(type_, n, rng, mask)
    if t.is_fixed_size_binary(type_):
        cells = [None if m else rng.bytes(type_.byte_width) for m in mask]
        return pa.array(cells, type_)
    if t.is_dictionary(type_):
        values = make_array(type_.value_type, 5, rng, nulls=False)
        indices = pa.array(rng.integers(0, 5, n), type_.index_type, mask=mask)
        return pa.DictionaryArray.from_arrays(indices, values, ordered=type_.ordered)
    if t.is_nested(type_) or t.is_run_end_encoded(type_):
        return _make_nested(type_, n, rng, mask)
    chosen = rng.integers(0, len(TEXTS), n)
    words = [None if m else TEXTS[i] for m, i in zip(mask, chosen, strict=True)]
    if t.is_string(type_) or t.is_large_string(type_) or t.is_string_view(type_):
        return pa.array(words, type_)
    return pa.array([None if w is None else w.encode() + b"\xff\0" * (len(w) % 2) for w in words], type_)


def _temporal(type_: pa.DataType, n: int, rng: np.random.Generator, mask: Any) -> pa.Array:
    t = pa.types
    day = {"s": 86_400, "ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}
    if t.is_date64(type_):
        return pa.array(rng.integers(-(10**4), 10**4, n) * 86_400_000, pa.int64(), mask=mask).view(type_)
    low, high = (0, day[type_.unit]) if t.is_time(type_) else (-(2**31) + 1, 2**31 - 1)
    numbers = rng.integers(low, high, n)
    width = pa.int32() if type_.bit_width == 32 else pa.int64()
    return pa.array(numbers, width, mask=mask).view(type_)


def _make_nested(type_: pa.DataType, n: int, rng: np.random.Generator, mask: Any) -> pa.Array:
    t, nulls = pa.types, pa.array(mask)
    sizes = rng.integers(0, 4, n)
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    if t.is_struct(type_):
        children = [make_array(type_.field(i).type, n, rng) for i in range(type_.num_fields)]
        return pa.StructArray.from_arrays(children, fields=list(type_), mask=nulls)
    if t.is_map(type_):
        keys = make_array(type_.key_type, int(offsets[-1]), rng, nulls=False)
        items = make_array(type_.item_type, int(offsets[-1]), rng)
        return pa.MapArray.from_arrays(pa.array(offsets, pa.int32()), keys, items, type=type_, mask=nulls)
    if t.is_fixed_size_list(type_):
        values = make_array(type_.value_type, n * type_.list_size, rng)
        return pa.FixedSizeListArray.from_arrays(values, type=type_, mask=nulls)
    if t.is_list(type_) or t.is_large_list(type_):
        values = make_array(type_.value_type, int(offsets[-1]), rng)
        kind, width = (pa.ListArray, pa.int32()) if t.is_list(type_) else (pa.LargeListArray, pa.int64())
        return kind.from_arrays(pa.array(offsets, width), values, type=type_, mask=nulls)
    if t.is_list_view(type_):
        values = make_array(type_.value_type, int(offsets[-1]) + 3, rng)
        starts, lengths = pa.array(offsets[:-1][::-1].copy(), pa.int32()), pa.array(sizes[::-1].copy(), pa.int32())
        return pa.ListViewArray.from_arrays(starts, lengths, values, type=type_, mask=nulls)
    if t.is_run_end_encoded(type_):
        return pc.run_end_encode(make_array(type_.value_type, n, rng), type_.run_end_type)
    codes = pa.array(rng.integers(0, 2, n), pa.int8())
    fields = [type_.field(i) for i in range(type_.num_fields)]
    names = [field.name for field in fields]
    children = [make_array(field.type, n, rng) for field in fields]
    if type_.mode == "sparse":
        return pa.UnionArray.from_sparse(codes, children, names)
    return pa.UnionArray.from_dense(codes, pa.array(np.arange(n), pa.int32()), children, names)


@st.composite
def batches(draw: Any, max_rows: int = 60, max_columns: int = 12) -> pa.RecordBatch:
    """Draw a batch of any columns and names, sliced from a longer one so that offsets are not zero."""
    kinds = draw(st.lists(types(), min_size=0, max_size=max_columns))
    rows = draw(st.integers(0, max_rows))
    before = draw(st.integers(0, 9))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    names = draw(st.lists(st.sampled_from(["", "a", "a.b", "ü", "select", " ", "0"]), min_size=12, max_size=12))
    fields = [
        pa.field(f"{names[i % 12]}{i if i % 3 else ''}", kind, metadata={"unit": f"u{i}"} if i % 2 else None)
        for i, kind in enumerate(kinds)
    ]
    schema = pa.schema(fields, metadata={"origin": "a test"})
    if not kinds:
        return pa.record_batch([pa.nulls(rows)], ["x"]).select([]).replace_schema_metadata(schema.metadata)
    arrays = [make_array(kind, before + rows + 2, rng) for kind in kinds]
    return pa.RecordBatch.from_arrays(arrays, schema=schema).slice(before, rows)


def same(batch: pa.RecordBatch, other: pa.RecordBatch) -> bool:
    """Compare schemas with metadata, and values; NaN equals NaN, and unused dictionary values are ignored."""
    if not batch.schema.equals(other.schema, check_metadata=True) or batch.num_rows != other.num_rows:
        return False
    return all(_same(mine, theirs) for mine, theirs in zip(batch.columns, other.columns, strict=True))


def _same(array: pa.Array, other: pa.Array) -> bool:
    if array.equals(other):
        return True
    if pa.types.is_dictionary(array.type):
        return _same(array.dictionary_decode(), other.dictionary_decode())
    size = 10 * len(array) + 100
    shown = [pa.concat_arrays([a]).to_string(window=size, container_window=size) for a in (array, other)]
    if shown[0] == shown[1]:
        return True
    return repr(array.to_pylist()) == repr(other.to_pylist())
