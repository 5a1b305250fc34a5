"""Fixtures with Arrow data of every type."""

from collections.abc import Callable

import pyarrow as pa
import pytest
from hypothesis import strategies as st

from tests.unit.arrow.arrays import DICTIONARIES, OTHERS, PRIMITIVES, batches, make_array, same


@pytest.fixture(scope="session")
def any_batch() -> Callable[..., st.SearchStrategy[pa.RecordBatch]]:
    """Return a strategy for batches of every type."""
    return batches


@pytest.fixture(scope="session")
def any_array() -> Callable[..., pa.Array]:
    """Return a function ``(type, length, rng) -> array``."""
    return make_array


@pytest.fixture(scope="session")
def every_type() -> list[pa.DataType]:
    """Return all types that a chunk can hold, one level deep."""
    nested = [
        pa.list_(pa.string()), pa.large_list(pa.int8()), pa.list_view(pa.int64()), pa.list_(pa.float32(), 3),
        pa.map_(pa.string(), pa.int32()), pa.struct([pa.field("a", pa.int8()), pa.field("b", pa.list_(pa.string()))]),
        pa.list_(pa.dictionary(pa.int8(), pa.string())), pa.struct([pa.field("d", DICTIONARIES[0])]),
    ]  # fmt: skip
    return PRIMITIVES + DICTIONARIES + OTHERS + nested


@pytest.fixture(scope="session")
def equal() -> Callable[[pa.RecordBatch, pa.RecordBatch], bool]:
    """Return ``same``: equality of batches that handles NaN and dictionaries."""
    return same
