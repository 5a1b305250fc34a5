"""Texts of one length are dictionary-encoded and decoded without hashing; Arrow's encoder handles all others."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.chunks import cast_batch
from millrace.chunks.encoding.fixed_width_dictionary import decode, encode
from millrace.errors import ChunkFormatError

TYPES = [pa.string(), pa.large_string(), pa.binary(), pa.large_binary()]


def there_and_back(array: pa.Array) -> pa.DictionaryArray:
    coded = encode(array)
    assert coded is not None
    coded.validate(full=True)
    assert len(coded.dictionary.unique()) == len(coded.dictionary)
    assert set(coded.indices.to_pylist()) == set(range(len(coded.dictionary)))
    assert coded.cast(array.type).equals(array)
    back = decode(coded)
    assert back is not None
    back.validate(full=True)
    assert back.equals(array)
    return coded


@given(
    length=st.integers(1, 8),
    letters=st.sampled_from([b"A", b"AB", b"\x00\xff", b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"]),
    rows=st.sampled_from([1, 2, 100, 5000]),
    seed=st.integers(0, 2**32 - 1),
)
def test_texts_that_fit_the_lookup_table_are_encoded_and_others_are_not(
    length: int, letters: bytes, rows: int, seed: int
) -> None:
    picked = np.random.default_rng(seed).choice(np.frombuffer(letters, np.uint8), (rows, length))
    array = pa.array([row.tobytes() for row in picked], pa.binary())
    spans = np.prod(picked.max(axis=0).astype(float) - picked.min(axis=0) + 1)
    if spans > 1 << 16:
        assert encode(array) is None
    else:
        there_and_back(array)


@pytest.mark.parametrize("type_", TYPES)
def test_every_text_type_and_its_slices_are_restored(type_: pa.DataType) -> None:
    array = pa.array(["JFK", "LGA", "EWR", "JFK"] * 500).cast(type_)
    assert len(there_and_back(array).dictionary) == 3
    assert len(there_and_back(array.slice(3, 5)).dictionary) == 3
    assert there_and_back(array.slice(1, 1)).dictionary.to_pylist() == array.slice(1, 1).to_pylist()


def test_the_offsets_shared_by_columns_are_immutable() -> None:
    coded = encode(pa.array(["AA", "BB", "AA"] * 500))
    assert coded is not None
    back = decode(coded)
    assert back is not None
    assert not back.buffers()[1].is_mutable


def test_values_that_first_appear_late_are_found() -> None:
    coded = there_and_back(pa.array(["AA"] * 5000 + ["ZZ", "AZ"] + ["AA"] * 10))
    assert sorted(coded.dictionary.to_pylist()) == ["AA", "AZ", "ZZ"]


def test_letters_of_several_bytes_are_measured_in_bytes() -> None:
    there_and_back(pa.array(["é", "ü", "é"] * 10))


@pytest.mark.parametrize(
    "values",
    [
        ["AA", None, "BB"],
        ["AA", "B"],
        ["A", "BBB"],
        ["", ""],
        [],
        ["x" * 9] * 3,
        [bytes([a, b, 0, 255 - a]).hex()[:8] for a in range(0, 256, 5) for b in range(0, 256, 5)],
    ],
)
def test_texts_that_are_not_of_one_short_length_are_left_to_arrow(values: list[str | None]) -> None:
    assert encode(pa.array(values, pa.string())) is None


def test_other_types_are_left_to_arrow() -> None:
    for array in (pa.array([1, 2]), pa.array(["AA"], pa.string_view()), pa.array([b"ab"], pa.binary(2))):
        assert encode(array) is None


@pytest.mark.parametrize(
    "array",
    [
        pa.DictionaryArray.from_arrays(pa.array([0, None], pa.int8()), pa.array(["AA"])),
        pa.DictionaryArray.from_arrays(pa.array([0, 1], pa.int8()), pa.array(["AA", None])),
        pa.DictionaryArray.from_arrays(pa.array([0, 1], pa.int8()), pa.array(["AA", "B"])),
        pa.DictionaryArray.from_arrays(pa.array([0, 1], pa.int8()), pa.array([1, 2])),
        pa.DictionaryArray.from_arrays(pa.array([], pa.int8()), pa.array(["AA"])),
        pa.DictionaryArray.from_arrays(pa.array([], pa.int8()), pa.array([], pa.string())),
    ],
)
def test_dictionaries_with_nulls_or_other_values_are_left_to_arrow(array: pa.DictionaryArray) -> None:
    assert decode(array) is None


@pytest.mark.parametrize("index", [5, -1, 100])
def test_an_index_outside_of_the_dictionary_raises_a_chunk_format_error(index: int) -> None:
    values = pa.array(["AA", "BB"])
    bad = pa.DictionaryArray.from_arrays(pa.array([0, index], pa.int8()), values, safe=False)
    assert decode(bad) is None
    with pytest.raises(ChunkFormatError, match="out of bounds"):
        cast_batch(pa.record_batch([bad], ["a"]), pa.schema([pa.field("a", pa.string())]))
