"""Text that is not UTF-8 is refused with file, row and column, in a column of any type."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from millrace.errors import SourceFormatError
from millrace.sources import SourceOptions, open_source, open_split, plan_source

ROWS, BAD_ROW = 300, 151
WORDS = [b"plain"] * (BAD_ROW - 1) + ["café".encode("latin-1")] + [b"end"] * (ROWS - BAD_ROW)
OFFSETS = pa.array(range(ROWS + 1), pa.int32())


def unchecked(text: pa.DataType) -> pa.Array:
    """Return the words as unvalidated text. One of them is Latin-1."""
    words = pa.array(WORDS, pa.large_binary() if text == pa.large_string() else pa.binary())
    return pa.Array.from_buffers(text, ROWS, words.buffers())


TEXT = unchecked(pa.string())
LISTS = pa.ListArray.from_arrays(OFFSETS, TEXT)
COLUMNS = {
    "string": TEXT,
    "large_string": unchecked(pa.large_string()),
    "list": LISTS,
    "list of lists": pa.ListArray.from_arrays(OFFSETS, LISTS),
    "struct": pa.StructArray.from_arrays([TEXT], ["x"]),
    "map key": pa.MapArray.from_arrays(OFFSETS, TEXT, pa.array(range(ROWS))),
    "map value": pa.MapArray.from_arrays(OFFSETS, pa.array(map(str, range(ROWS))), TEXT),
}


def read_all(path: Path, **options: int) -> None:
    plan = plan_source(str(path), SourceOptions(**options))
    for split in plan.splits:
        with open_split(plan, split) as reader:
            list(reader)


def refusal(path: Path, **options: int) -> SourceFormatError:
    with pytest.raises(SourceFormatError) as caught:
        read_all(path, **options)
    return caught.value


@pytest.mark.parametrize("kind", COLUMNS)
@pytest.mark.parametrize("coded", [False, True])
def test_text_of_parquet_that_is_not_utf8_is_refused_by_row_and_column(tmp_path: Path, kind: str, coded: bool) -> None:
    path = tmp_path / "word.parquet"
    table = pa.table({"id": range(ROWS), "word": COLUMNS[kind]})
    pq.write_table(table, path, use_dictionary=coded, store_schema=not coded, row_group_size=100)
    error = refusal(path, split_bytes=1)
    # Dictionaries inside lists and structs are not sliced with their rows.
    row = "" if coded and "string" not in kind else f", row {BAD_ROW}"
    assert error.message == f"word.parquet{row}: column 'word' has text that is not UTF-8"
    assert error.context == {"file": "word.parquet", "column": "word"}


@pytest.mark.parametrize("kind", COLUMNS)
@pytest.mark.parametrize("split_bytes", [1, 1 << 30])
def test_text_of_arrow_that_is_not_utf8_is_refused_by_row_and_column(
    tmp_path: Path, kind: str, split_bytes: int
) -> None:
    path = tmp_path / "word.arrow"
    table = pa.table({"id": range(ROWS), "word": COLUMNS[kind]})
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=100)
    error = refusal(path, split_bytes=split_bytes)
    assert error.message == f"word.arrow, row {BAD_ROW}: column 'word' has text that is not UTF-8"


CODES = pa.array([0] * ROWS, pa.int8())
SHARED = {
    "list view": pa.ListViewArray.from_arrays(OFFSETS.slice(0, ROWS), pa.array([1] * ROWS, pa.int32()), TEXT),
    "dense union": pa.UnionArray.from_dense(CODES, OFFSETS.slice(0, ROWS), [TEXT]),
    "struct of dictionaries": pa.StructArray.from_arrays(
        [pa.DictionaryArray.from_arrays(OFFSETS.slice(0, ROWS), TEXT, safe=False)], ["x"]
    ),
}


@pytest.mark.parametrize("kind", SHARED)
def test_no_row_is_named_where_rows_share_their_values(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "word.arrow"
    table = pa.table({"word": SHARED[kind]})
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=100)
    assert refusal(path).message == "word.arrow: column 'word' has text that is not UTF-8"


def test_a_dictionary_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    indices = pa.array([0, BAD_ROW - 1, 2], pa.int32())
    coded = pa.DictionaryArray.from_arrays(indices, TEXT, safe=False)
    pq.write_table(pa.table({"word": coded}), tmp_path / "word.parquet")
    assert refusal(tmp_path / "word.parquet").message == "word.parquet, row 2: column 'word' has text that is not UTF-8"


def test_the_same_bytes_as_binary_are_loaded(tmp_path: Path) -> None:
    table = pa.table({"word": pa.array(WORDS, pa.binary())})
    pq.write_table(table, tmp_path / "word.parquet")
    with open_source(plan_source(str(tmp_path / "word.parquet"))) as reader:
        assert pa.Table.from_batches(list(reader)).equals(table)
