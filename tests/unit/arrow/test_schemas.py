"""Two schemas widen to one that holds the rows of both, or are refused with the column."""

from __future__ import annotations

import pyarrow as pa
import pytest

from millrace.arrow.schemas import wider_schema
from millrace.errors import SourceTypeError


def schema_of(type_: pa.DataType) -> pa.Schema:
    return pa.schema([("c", type_)])


@pytest.mark.parametrize(
    ("mine", "theirs", "common"),
    [
        (pa.null(), pa.string(), pa.string()),
        (pa.int64(), pa.float64(), pa.float64()),
        (pa.int8(), pa.uint8(), pa.int16()),
        (pa.int64(), pa.int8(), pa.int64()),
        (pa.list_(pa.null()), pa.list_(pa.int64()), pa.list_(pa.int64())),
        (pa.decimal128(5, 3), pa.decimal128(5, 0), pa.decimal128(8, 3)),
    ],
    ids=str,
)
def test_the_wider_schema_does_not_depend_on_their_order(
    mine: pa.DataType, theirs: pa.DataType, common: pa.DataType
) -> None:
    assert wider_schema(schema_of(mine), schema_of(theirs)).field(0).type == common
    assert wider_schema(schema_of(theirs), schema_of(mine)).field(0).type == common


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        (pa.string(), pa.int64()),
        (pa.bool_(), pa.int64()),
        (pa.timestamp("s", "UTC"), pa.timestamp("s")),
        (pa.timestamp("s"), pa.timestamp("ms")),
    ],
    ids=str,
)
def test_incompatible_types_are_refused_with_both_types_and_an_option(mine: pa.DataType, theirs: pa.DataType) -> None:
    with pytest.raises(SourceTypeError, match=r"column 'c' changes from .* to .*--column-type c=TYPE"):
        wider_schema(schema_of(mine), schema_of(theirs))


def test_other_column_names_are_refused() -> None:
    with pytest.raises(SourceTypeError, match="columns change within the source"):
        wider_schema(pa.schema([("a", pa.int8())]), pa.schema([("b", pa.int8())]))


def test_a_column_that_is_nullable_in_one_schema_is_nullable_in_the_wider_one() -> None:
    sure = pa.schema([pa.field("a", pa.int8(), nullable=False)])
    unsure = pa.schema([pa.field("a", pa.int64())])
    assert wider_schema(sure, unsure).field("a").nullable
