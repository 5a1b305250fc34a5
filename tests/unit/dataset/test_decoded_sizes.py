"""The decoded size of columns that the manifest bounds, against chunks of every kind of column."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from millrace.chunks import ChunkSettings, TileLayout, encode_row_group
from millrace.dataset import ChunkDecoder
from tests.unit.dataset.test_scan import ref_of

ROWS = 20_000
NUMBERS = np.arange(ROWS)


def lists(width: int) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(np.arange(ROWS * width) % 7), width)


COLUMNS: dict[str, pa.Array] = {
    "small numbers": pa.array(NUMBERS % 5, pa.int64(), mask=NUMBERS % 3 == 0),
    "floats": pa.array((NUMBERS % 90) / 4, mask=NUMBERS % 3 == 0),
    "bools": pa.array(NUMBERS % 2 == 0, mask=NUMBERS % 3 == 0),
    "moments": pa.array(NUMBERS, pa.timestamp("us"), mask=NUMBERS % 3 == 0),
    "carriers": pa.array([["UA", "B6", None][number % 3] for number in NUMBERS]),
    "longest of a dictionary": pa.array([f"{number % 40:064}" for number in NUMBERS]),
    "repeated long text": pa.array([f"{number % 4:0200}" for number in NUMBERS]),
    "all different": pa.array([f"number {number}" for number in NUMBERS]),
    "large text": pa.array([f"number {number % 9}" for number in NUMBERS], pa.large_string()),
    "views": pa.array([f"a text of more than 12 bytes {number % 9}" for number in NUMBERS], pa.string_view()),
    "bytes": pa.array([bytes(number % 11) for number in NUMBERS]),
    "ragged lists": pa.array([[number] * (number % 5) for number in NUMBERS]),
    "structs": pa.array([{"a": int(number), "b": str(number)} for number in NUMBERS]),
    "fixed lists": lists(12),
    "nothing": pa.nulls(ROWS, pa.string()),
}


def encoded(columns: dict[str, pa.Array], layout: TileLayout) -> tuple[Any, ChunkDecoder]:
    batch = pa.record_batch(columns)
    (made,) = encode_row_group(batch, ChunkSettings(row_group_bytes=1), layout)
    return ref_of(made, 0), ChunkDecoder(batch.schema, layout, None)


def types(columns: dict[str, pa.Array]) -> dict[str, pa.DataType]:
    return {name: column.type for name, column in columns.items()}


@pytest.mark.parametrize("name", COLUMNS)
def test_the_bound_of_a_column_holds(name: str) -> None:
    column = {name: COLUMNS[name]}
    ref, decoder = encoded(column, TileLayout(((0,),)))
    assert decoder.decoded_sizes(types(column)).bytes_max(ref, ROWS) >= COLUMNS[name].nbytes


def test_the_bound_of_columns_in_one_tile_holds() -> None:
    ref, decoder = encoded(COLUMNS, TileLayout((tuple(range(len(COLUMNS))),)))
    assert decoder.decoded_sizes(types(COLUMNS)).bytes_max(ref, ROWS) >= pa.record_batch(COLUMNS).nbytes
    for name, column in COLUMNS.items():
        assert decoder.decoded_sizes({name: column.type}).bytes_max(ref, ROWS) >= column.nbytes


@pytest.mark.parametrize("name", ["small numbers", "floats", "bools", "moments"])
def test_numbers_with_nulls_count_their_own_width_alone(name: str) -> None:
    columns = {name: COLUMNS[name], "text": COLUMNS["all different"]}
    ref, decoder = encoded(columns, TileLayout(((0, 1),)))
    exact = COLUMNS[name].nbytes
    assert exact <= decoder.decoded_sizes({name: COLUMNS[name].type}).bytes_max(ref, ROWS) <= exact + 1


def test_columns_that_are_not_read_and_columns_that_a_chunk_lacks_count_no_values() -> None:
    columns = {name: COLUMNS[name] for name in ("all different", "repeated long text")}
    ref, _ = encoded({"all different": columns["all different"]}, TileLayout(((0,),)))
    newer = ChunkDecoder(pa.schema(types(columns)), TileLayout(((0,), (1,))), None)
    assert newer.decoded_sizes({}).bytes_max(ref, ROWS) == 0
    lacking = newer.decoded_sizes({"repeated long text": pa.string()}).bytes_max(ref, ROWS)
    assert pa.nulls(ROWS, pa.string()).nbytes <= lacking <= 20 * ROWS


def test_text_that_is_too_long_for_a_dictionary_counts_the_raw_bytes_of_its_tile_once() -> None:
    text = pa.array([f"{number:0200}" for number in NUMBERS])
    columns = {"a": text, "b": text}
    ref, decoder = encoded(columns, TileLayout(((0, 1),)))
    places_and_a_dictionary = (2 * 4 + 1 + 64) * ROWS
    assert (
        2 * text.nbytes
        <= decoder.decoded_sizes(types(columns)).bytes_max(ref, ROWS)
        <= ref.raw_bytes + places_and_a_dictionary
    )
