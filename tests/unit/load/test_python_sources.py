"""Sources given from Python: path strings and objects, lists of paths, and Arrow data."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from millrace.api import Store
from millrace.errors import MillraceError, SourceFormatError, SourceNotFoundError, SourceTypeError, UsageError
from millrace.load import LoadOptions
from millrace.sources import SourceOptions
from millrace.sources.planning.python_data import copied

APPEND = LoadOptions(mode="append")
TABLE = pa.table(
    {
        "a": pa.array([1, 2, None, 2**63 - 1]),
        "s": pa.array(["x", None, "", "ß"]),
        "d": pa.array([Decimal("1.20"), None, Decimal("-0.01"), Decimal(0)], pa.decimal128(9, 2)),
        "t": pa.array([0, None, -1, 10**18], pa.timestamp("ns", "Europe/Berlin")),
        "k": pa.array(["u", "v", None, "u"]).dictionary_encode(),
        "v": pa.array(["long enough to be no prefix", None, "", "x"], pa.string_view()),
        "l": pa.array([[1], [], None, [2, None]]),
        "r": pa.array([{"x": 1}, None, {"x": None}, {"x": 2}]),
        "n": pa.nulls(4),
    },
    metadata={"who": "me"},
)


class Exporting:
    """A type of another library that exports an Arrow stream."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self._table.__arrow_c_stream__(requested_schema)


def as_struct_array(table: pa.Table) -> pa.Array:
    return table.select(["a", "s"]).to_struct_array().combine_chunks()


@pytest.mark.parametrize(
    ("made", "name"),
    [
        (lambda table: table, "python:pyarrow.Table"),
        (lambda table: table.to_batches()[0], "python:pyarrow.RecordBatch"),
        (lambda table: table.to_reader(max_chunksize=1), "python:pyarrow.RecordBatchReader"),
        (Exporting, "python:tests.Exporting"),
        (lambda table: pa.concat_tables([table.slice(0, 1), table.slice(1)]), "python:pyarrow.Table"),
    ],
)
def test_arrow_data_is_read_back_unchanged(store: Store, made: Callable[[pa.Table], Any], name: str) -> None:
    report = store.load("t", made(TABLE))
    assert report.source.removeprefix("python:").split(".")[-1] == name.split(".")[-1]
    assert report.source.startswith("python:")
    back = store.dataset("t").to_table()
    assert back.equals(TABLE)
    assert back.schema.equals(TABLE.schema, check_metadata=True)
    recorded = json.dumps(store.version("t").source)
    assert tempfile.gettempdir() not in recorded
    assert "millrace-" not in recorded


def test_an_array_of_structs_is_loaded_as_a_table(store: Store) -> None:
    store.load("t", as_struct_array(TABLE))
    assert store.dataset("t").to_table().equals(TABLE.select(["a", "s"]))


def test_a_dataset_is_loaded_into_another_one(store: Store) -> None:
    store.load("t", TABLE)
    assert store.load("copy", store.dataset("t")).source == "python:millrace.Dataset"
    assert store.dataset("copy").to_table().equals(TABLE)


def test_a_table_without_rows_keeps_its_columns(store: Store) -> None:
    assert store.load("t", TABLE.slice(0, 0)).rows == 0
    assert store.dataset("t").schema.equals(TABLE.schema)


def test_arrow_data_is_appended(store: Store) -> None:
    store.load("t", TABLE)
    report = store.load("t", TABLE.to_reader(), APPEND)
    assert (report.rows, report.total_rows) == (4, 8)
    assert store.dataset("t").to_table().equals(pa.concat_tables([TABLE, TABLE]).unify_dictionaries())


@pytest.mark.parametrize("pieces", [1, 3, 1000])
def test_the_same_rows_and_run_are_the_same_version_for_any_batch_size(store: Store, pieces: int) -> None:
    table = pa.table({"n": list(range(100_000)), "text": [f"row {n}" for n in range(100_000)]})
    first = store.load("t", table, run="nightly")
    again = store.load("t", pa.Table.from_batches(table.to_batches(100_000 // pieces)), run="nightly")
    assert again.version == first.version
    assert len(store.versions("t")) == 1
    other = store.load("t", table.slice(1), run="nightly")
    assert other.version != first.version


def test_dictionaries_that_differ_between_batches_are_read_back_by_value(store: Store) -> None:
    kind = pa.dictionary(pa.int8(), pa.string())
    batches = [pa.record_batch({"k": pa.array(words, kind)}) for words in (["a", "b"], ["c", "a"], ["d"])]
    store.load("t", pa.RecordBatchReader.from_batches(batches[0].schema, batches))
    assert store.dataset("t").to_table()["k"].to_pylist() == ["a", "b", "c", "a", "d"]


def test_a_failing_reader_leaves_no_dataset_and_no_files(store: Store) -> None:
    def broken() -> Iterator[pa.RecordBatch]:
        yield TABLE.to_batches()[0]
        raise LookupError("the database went away")

    before = set(Path(tempfile.gettempdir()).glob("millrace-*"))
    with pytest.raises(LookupError, match="the database went away"):
        store.load("t", pa.RecordBatchReader.from_batches(TABLE.schema, broken()))
    assert store.catalogue.names() == []
    assert set(Path(tempfile.gettempdir()).glob("millrace-*")) == before


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        5,
        1.5,
        b"t.csv",
        {},
        {"a": [1]},
        {"t.csv"},
        iter(["t.csv"]),
        object(),
        str,
        pa.Table,
        [5],
        [TABLE],
        ["a", b"b"],
    ],
)
def test_a_wrong_type_is_refused_with_the_accepted_types(store: Store, wrong: Any) -> None:
    with pytest.raises(UsageError) as error:
        store.load("t", wrong)
    for word in (
        "path object",
        "list of paths",
        "Table",
        "RecordBatchReader",
        "pandas",
        "polars",
        "__arrow_c_stream__",
    ):
        assert word in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("column", [pa.array([1, 2]), pa.chunked_array([[1], [2]])])
def test_a_single_column_is_refused(store: Store, column: Any) -> None:
    with pytest.raises(UsageError, match="is one column and not a table"):
        store.load("t", column)


@pytest.mark.parametrize(
    ("table", "error", "said"),
    [
        (pa.table({}), SourceFormatError, "has no columns"),
        (pa.Table.from_arrays([pa.array([1]), pa.array([2])], ["a", "a"]), SourceFormatError, "two columns are named"),
    ],
)
def test_a_table_without_columns_or_with_equal_names_is_refused(
    store: Store, table: pa.Table, error: type[MillraceError], said: str
) -> None:
    with pytest.raises(error, match=said):
        store.load("t", table)


def test_options_of_other_formats_are_refused_for_arrow_data(store: Store) -> None:
    with pytest.raises(UsageError, match=r"python:pyarrow[.]Table is Arrow data, and cannot be read as csv"):
        store.load("t", TABLE, LoadOptions(source=SourceOptions(format="csv")))
    with pytest.raises((UsageError, SourceTypeError)):
        store.load("t", TABLE, LoadOptions(source=SourceOptions(column_types=(("a", "string"),))))


def test_a_plan_takes_paths_and_no_arrow_data(store: Store, csv: Callable[..., str]) -> None:
    with pytest.raises(
        UsageError, match=r"pyarrow\.Table is not a source: give a path.*load\(\) also takes Arrow data"
    ):
        store.plan("t", TABLE)  # type: ignore[arg-type]
    assert store.plan("t", Path(csv(3))).source.total_bytes > 0
    assert len(store.plan("t", [csv(3), csv(4, name="b.csv")]).source.files) == 2


def test_a_path_object_is_the_same_source_as_its_text(store: Store, csv: Callable[..., str]) -> None:
    text = csv(3)
    assert store.load("t", Path(text), run="r").version == store.load("t", text, run="r").version


def test_a_path_object_named_like_standard_input_is_a_file(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("-").write_text("a,b\n1,2\n")
    assert store.load("t", Path("-")).rows == 1


def test_a_list_of_paths_is_loaded_in_its_order(store: Store, csv: Callable[..., str]) -> None:
    c, a = csv(2, 20, "c.csv"), csv(2, 0, "a.csv")
    report = store.load("t", [c, Path(a)])
    assert store.dataset("t").to_table()["n"].to_pylist() == [20, 21, 0, 1]
    assert report.source == f"{c}, {a}"
    assert store.version("t").source["first_files"] == ["c.csv", "a.csv"]


def test_a_list_takes_folders_and_patterns_and_a_list_of_one_path_is_that_path(
    store: Store, csv: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "x").mkdir()
    one, two, three = csv(1, 1, "x/one.csv"), csv(1, 2, "two.csv"), csv(1, 3, "three.csv")
    store.load("t", (str(tmp_path / "x"), str(tmp_path / "t*.csv")))
    assert store.dataset("t").to_table()["n"].to_pylist() == [1, 3, 2]
    assert store.load("u", [one], run="r").version == store.load("u", one, run="r").version
    assert store.load("u", [one, two, three, csv(1, 4, "four.csv")]).source == f"{one}, {two}, {three} and 1 more"


def test_files_of_equal_names_in_a_list_get_different_paths(store: Store, tmp_path: Path) -> None:
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "same.bin").write_bytes(folder.encode())
    as_bytes = LoadOptions(source=SourceOptions(format="bytes"))
    store.load("t", [tmp_path / "x" / "same.bin", tmp_path / "y"], as_bytes)
    assert store.dataset("t").to_table()["path"].to_pylist() == ["x/same.bin", "y/same.bin"]


@pytest.mark.parametrize(
    ("names", "error", "said"),
    [
        ([], UsageError, "the list of paths is empty"),
        (["-", "a.csv"], UsageError, "standard input cannot be one source of several"),
        (["a.csv", "*.csv"], UsageError, "names .*/a.csv twice"),
        (["a.csv", "./a.csv"], UsageError, "names .*/a.csv twice"),
        (["a.csv", "none.csv"], SourceNotFoundError, "none.csv"),
        (["a.csv", ""], UsageError, "'' is not a path"),
        (["a.csv", "b.parquet"], SourceFormatError, "files of different formats|does not have its first bytes"),
    ],
)
def test_an_invalid_list_of_paths_is_refused(
    store: Store,
    csv: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    names: list[str],
    error: type[MillraceError],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    csv(1, name="a.csv")
    Path("b.parquet").write_text("no parquet")
    with pytest.raises(error, match=said):
        store.load("t", names)


COPYING = """
import sys
import numpy as np, pyarrow as pa
from millrace.sources.planning.python_data import copied

ROWS = 500_000
schema = pa.schema({"n": pa.int64(), "x": pa.float64()})

def batches(count):
    for number in range(count):
        n = np.arange(ROWS) + number
        yield pa.record_batch([n, n * 0.5], schema=schema)

with copied(pa.RecordBatchReader.from_batches(schema, batches(int(sys.argv[1])))) as copy:
    with pa.ipc.open_stream(copy.path) as stream:
        assert sum(batch.num_rows for batch in stream) == ROWS * int(sys.argv[1])
with open("/proc/self/status") as status:
    print(next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM")))
"""


def test_the_memory_for_copying_a_stream_does_not_depend_on_its_length() -> None:
    def peak(count: int) -> int:
        command = [sys.executable, "-c", COPYING, str(count)]
        return int(subprocess.run(command, check=True, capture_output=True, text=True, timeout=200).stdout)

    short, long = peak(10), peak(100)  # 80 MB and 800 MB
    assert long < short + 40_000_000


def test_the_copy_of_a_stream_is_deleted_afterwards() -> None:
    with copied(TABLE) as copy:
        assert Path(copy.path).is_file()
    assert not Path(copy.path).parent.exists()
