"""Values are converted to the types of a contract exactly, or do not fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.sources.fitting import fitted

# Nested values are compared bit by bit, and a float keeps only a part of the bits of another NaN.
ANY_DOUBLE = (st.floats(width=32) | st.floats()).map(lambda value: value if value == value else float("nan"))
DOUBLES = st.lists(st.none() | ANY_DOUBLE, max_size=3)
NESTED = {
    "list": (lambda values: [values], pa.list_),
    "large list": (lambda values: [values], pa.large_list),
    "struct": (lambda values: [{"x": value} for value in values], lambda kind: pa.struct([("x", kind)])),
    "list of structs": (
        lambda values: [[{"x": value} for value in values]],
        lambda kind: pa.list_(pa.struct([("x", kind)])),
    ),
}


def is_exact(value: float | None) -> bool:
    with np.errstate(over="ignore"):
        return value is None or value != value or float(np.float32(value)) == value


@pytest.mark.parametrize("name", NESTED)
@settings(max_examples=50, deadline=None)
@given(values=DOUBLES)
def test_doubles_in_lists_and_structs_fit_floats_only_exactly(name: str, values: list[float | None]) -> None:
    nest, nested_type = NESTED[name]
    rows: list[Any] = nest(values)
    array, misfits = fitted(pa.array(rows, nested_type(pa.float64())), nested_type(pa.float32()))
    whole = [value for row in rows for value in ([row["x"]] if isinstance(row, dict) else [])]
    exact = [is_exact(value) for value in whole] if name == "struct" else [all(map(is_exact, values))]
    assert misfits.tolist() == [row for row, fits in enumerate(exact) if not fits]
    assert [not valid for valid in array.is_valid().to_pylist()] == [not fits for fits in exact]
    assert array.type == nested_type(pa.float32())


@pytest.mark.parametrize("index_type", [pa.int8(), pa.uint8(), pa.int16(), pa.int64(), pa.uint64()])
@settings(max_examples=20, deadline=None)
@given(counts=st.lists(st.integers(0, 300), max_size=400))
def test_values_beyond_the_indices_of_a_dictionary_do_not_fit(index_type: pa.DataType, counts: list[int]) -> None:
    texts = [f"t{count}" for count in [*range(126), *counts]]
    array, misfits = fitted(pa.array(texts), kind := pa.dictionary(index_type, pa.string()))
    largest = {pa.int8(): 128, pa.uint8(): 256}.get(index_type, 1 << 20)
    fitting = set(list(dict.fromkeys(texts))[:largest])
    assert array.type == kind
    assert array.to_pylist() == [text if text in fitting else None for text in texts]
    assert misfits.tolist() == [row for row, text in enumerate(texts) if text not in fitting]
