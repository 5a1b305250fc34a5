"""Data frames and DuckDB relations are loaded exactly, and a dataset can be read as either."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from local_stack.settings import CHECKOUT, PYTHON_PATH
from millrace.api import Store
from millrace.dataset import Dataset
from millrace.dataset.exports import frames
from millrace.errors import UsageError
from millrace.load import LoadOptions
from tests.package_folder import package_folder

FRAME = pl.DataFrame(
    {
        "id": pl.Series([2**63 - 1, None, -1]),
        "u": pl.Series([2**64 - 1, 0, None], dtype=pl.UInt64),
        "text": ["long enough to be stored apart", None, "ß"],
        "category": pl.Series(["u", None, "u"], dtype=pl.Categorical),
        "enum": pl.Series(["v", "u", None], dtype=pl.Enum(["u", "v"])),
        "day": [dt.date(2013, 1, 1), None, dt.date(1, 1, 1)],
        "at": pl.Series([dt.datetime(2013, 1, 1, 5), None, dt.datetime(1969, 1, 1)]).dt.replace_time_zone("Asia/Tokyo"),
        "clock": [dt.time(5, 0), None, dt.time(23, 59, 59, 999999)],
        "length": [dt.timedelta(days=1), None, dt.timedelta(microseconds=-1)],
        "price": pl.Series([Decimal("1.20"), None, Decimal("-0.01")], dtype=pl.Decimal(12, 2)),
        "list": [[1, None], None, []],
        "struct": [{"x": 1}, {"x": None}, None],
        "bytes": [b"\0", None, b""],
        "nothing": [None, None, None],
    }
)


@pytest.fixture
def flights(store: Store) -> Dataset:
    """A dataset of 3,000 rows of integers and text."""
    table = pa.table({"n": list(range(3000)), "text": [f"row {n % 7}" for n in range(3000)]})
    store.load("flights", table)
    return store.dataset("flights")


def test_a_polars_frame_comes_back_equal(store: Store) -> None:
    assert store.load("t", FRAME).source == "python:polars.DataFrame"
    back = store.dataset("t").to_polars()
    assert back.schema == FRAME.schema
    assert back.equals(FRAME)


def test_a_polars_frame_is_appended(store: Store) -> None:
    store.load("t", FRAME)
    assert store.load("t", FRAME, LoadOptions(mode="append")).total_rows == 6
    assert store.dataset("t").to_polars().equals(pl.concat([FRAME, FRAME]))


def test_the_same_polars_frame_and_run_are_the_same_load(store: Store) -> None:
    assert store.load("t", FRAME, run="r").version == store.load("t", FRAME.clone(), run="r").version


def test_a_lazy_frame_and_a_single_series_are_refused(store: Store) -> None:
    for wrong in (FRAME.lazy(), FRAME["id"]):
        with pytest.raises(UsageError):
            store.load("t", wrong)  # type: ignore[arg-type]


def test_polars_gets_the_selected_columns_and_rows(flights: Dataset) -> None:
    found = flights.to_polars(["text"], "n >= 2998")
    assert found.to_dict(as_series=False) == {"text": ["row 2", "row 3"]}
    assert pl.DataFrame(flights).shape == (3000, 2)


def test_a_relation_of_duckdb_is_loaded(store: Store) -> None:
    relation = duckdb.sql("select range as n, range::varchar as text from range(100000)")
    assert store.load("t", relation).rows == 100_000
    assert store.dataset("t").to_table()["n"].to_pylist() == list(range(100_000))


def test_duckdb_reads_a_dataset_by_the_name_of_its_variable(flights: Dataset) -> None:
    ds = flights  # noqa: F841
    assert duckdb.sql("select count(*), sum(n) from ds").fetchall() == [(3000, 4498500)]
    assert duckdb.sql("select text, count(*) from ds where n < 8 group by text order by text limit 1").fetchall() == [
        ("row 0", 2)
    ]


@pytest.mark.parametrize("text", ["n > 2 and n < 6", "N".lower() + " between 3 and 5", "text = 'row 3' and n < 10"])
def test_a_filter_is_text_as_on_the_command_line(flights: Dataset, text: str) -> None:
    expected = [3, 4, 5] if "row" not in text else [3]
    assert flights.to_table(filter=text)["n"].to_pylist() == expected
    assert flights.to_table(["text"], text).num_rows == len(expected)
    assert sum(batch.num_rows for batch in flights.to_batches(filter=text)) == len(expected)
    assert [batch.num_rows for batch in flights.to_batches(filter=text, num_rows=1)] == [1]
    assert flights.count_rows(text) == len(expected)
    assert flights.head(1, filter=text)["n"].to_pylist() == expected[:1]
    assert flights.head(1, ["text"], text).to_pylist() == [{"text": "row 3"}]
    assert flights.to_polars(filter=text)["n"].to_list() == expected


def test_a_filter_may_still_be_an_expression(flights: Dataset) -> None:
    condition = (pc.field("n") > 2) & (pc.field("n") < 6)
    assert flights.to_table(filter=condition)["n"].to_pylist() == [3, 4, 5]
    assert flights.count_rows(condition) == 3
    assert flights.count_rows() == 3000
    assert flights.count_rows("n < 0") == 0
    assert flights.head(2, filter="n < 0").num_rows == 0


@pytest.mark.parametrize("wrong", [5, True, b"n > 1", [("n", ">", 1)], lambda row: row, ""])
def test_an_invalid_filter_is_refused_before_anything_is_read(flights: Dataset, wrong: Any) -> None:
    for ask in (flights.to_table, flights.to_batches, flights.to_polars):
        with pytest.raises(UsageError, match="filter"):
            ask(filter=wrong)
    for count in (flights.count_rows, lambda filter: flights.head(1, filter=filter)):
        with pytest.raises(UsageError, match="filter"):
            count(wrong)


def test_an_unknown_column_of_a_filter_is_named_with_the_nearest(flights: Dataset) -> None:
    with pytest.raises(UsageError, match=r"there is no column 'texd'.*text"):
        flights.to_table(filter="texd = 'x'")


def test_a_missing_package_is_named(flights: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(frames, "import_module", missing)
    for ask, name in ((flights.to_pandas, "pandas"), (flights.to_polars, "polars")):
        with pytest.raises(UsageError, match=f"{name} is not installed: pip install {name}"):
            ask()


PANDAS = r"""
import datetime as dt, json, os, sys
import pandas as pd, pyarrow as pa
from millrace.api import Store
from millrace.load import LoadOptions
from millrace.settings import load_settings
from tests.unit.store.fakes import FakeCassandra

def kinds(frame):
    return [str(kind) for kind in frame.dtypes]

plain = pd.DataFrame({
    "n": [1, 2, 3], "f": [1.5, float("nan"), -0.0], "s": ["x", None, "ß"], "c": pd.Categorical(["b", "a", "b"]),
    "t": pd.to_datetime(["2013-01-01", None, "1969-01-01"]).tz_localize("Asia/Tokyo"),
    "i": pd.array([2**63 - 1, None, 0], dtype="Int64"), "d": pd.to_timedelta([1, None, 2], unit="s"),
})
told = {}
with Store(FakeCassandra(), load_settings(redis={"url": ""}, cassandra={"keyspace": "ks"})) as store:
    def load(name, frame, **more):
        report = store.load(name, frame, **more)
        return [report.source, report.rows, [[w.code, w.message] for w in report.warnings]]
    told["plain"] = load("plain", plain)
    back = store.dataset("plain").to_pandas()
    pd.testing.assert_frame_equal(back, plain)
    told["names"] = store.dataset("plain").schema.names
    load("plain", plain, run="r")
    load("plain", plain.copy(), run="r")
    told["again"] = len(store.versions("plain"))
    named = plain.set_index(pd.Index([5, 7, 9], name="id"))
    told["named"] = load("named", named)
    pd.testing.assert_frame_equal(store.dataset("named").to_pandas(), named)
    told["cut"] = load("cut", plain[1:])
    told["cut columns"] = store.dataset("cut").schema.names
    told["passed"] = load("passed", plain[plain.n != 2])
    told["passed columns"] = store.dataset("passed").schema.names
    many = plain.set_index([pd.Index([1, 1, 2], name="a"), pd.Index(["x", "y", "x"], name="b")])
    told["many"] = load("many", many)
    pd.testing.assert_frame_equal(store.dataset("many").to_pandas(), many)
    store.load("more", plain)
    told["appended"] = store.load("more", plain, LoadOptions(mode="append")).total_rows
    try:
        store.load("mixed", pd.DataFrame({"a": [1, "x"]}))
    except Exception as error:
        told["mixed"] = [type(error).__name__, str(error)]
    ids = pa.table({
        "id": pa.array([2**63 - 1, None]), "small": pa.array([1, 2], pa.uint8()),
        "u": pa.array([2**64 - 1, None], pa.uint64()), "b": [True, None], "plain": [1, 2],
    })
    store.load("ids", ids)
    frame = store.dataset("ids").to_pandas()
    told["ids"] = [kinds(frame), int(frame.id[0]), int(frame.u[0])]
    big = 2**53 + 1
    nested = pa.table({
        "list": pa.array([[big, None], [1]], pa.list_(pa.int64())),
        "deep": pa.array([[[big, None]], None], pa.list_(pa.list_(pa.int64()))),
        "fixed": pa.array([[big, None], [1, 2]], pa.list_(pa.int64(), 2)),
        "struct": pa.array([{"a": big}, {"a": None}], pa.struct([("a", pa.int64())])),
        "map": pa.array([[("k", big), ("l", None)], []], pa.map_(pa.string(), pa.int64())),
        "whole": pa.array([[big], [1, 2]], pa.list_(pa.int64())),
    })
    store.load("nested", nested)
    frame = store.dataset("nested").to_pandas()
    told["nested"] = [frame[name][0] for name in nested.column_names[:-1]]
    told["whole"] = [str(frame.whole.dtype), frame.whole[0].tolist()]
    told["part"] = store.dataset("ids").to_pandas(["small"], "small > 1").small.tolist()
    told["options"] = kinds(store.dataset("ids").to_pandas(types_mapper=pd.ArrowDtype))
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def told_with_pandas(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Results of a subprocess with pandas, which this process does not have."""
    home = tmp_path_factory.mktemp("home")
    env = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": f"{PYTHON_PATH}:{package_folder('pandas')}",
        "MILLRACE_HOME": str(home),
    }
    done = subprocess.run(
        [sys.executable, "-c", PANDAS], env=env, cwd=home, capture_output=True, text=True, timeout=250, check=False
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_a_pandas_frame_comes_back_equal(told_with_pandas: dict[str, Any]) -> None:
    assert told_with_pandas["plain"] == ["python:pandas.DataFrame", 3, []]
    assert told_with_pandas["names"] == ["n", "f", "s", "c", "t", "i", "d"]
    assert told_with_pandas["again"] == 2
    assert told_with_pandas["appended"] == 6


def test_an_index_other_than_the_row_number_becomes_columns(told_with_pandas: dict[str, Any]) -> None:
    [[code, message]] = told_with_pandas["named"][2]
    assert code == "pandas_index"
    assert message.startswith("the index of the data frame is loaded as a column ('id')")
    assert "('a', 'b')" in told_with_pandas["many"][2][0][1]
    for name in ("cut", "passed"):
        assert "__index_level_0__" in told_with_pandas[name][2][0][1]
        assert told_with_pandas[f"{name} columns"] == [*told_with_pandas["names"], "__index_level_0__"]


def test_a_column_of_mixed_objects_is_refused_by_name(told_with_pandas: dict[str, Any]) -> None:
    kind, message = told_with_pandas["mixed"]
    assert kind == "SourceTypeError"
    assert "column a" in message


def test_integers_with_nulls_stay_exact_in_pandas(told_with_pandas: dict[str, Any]) -> None:
    kinds, first, unsigned = told_with_pandas["ids"]
    assert kinds == ["Int64", "uint8", "UInt64", "object", "int64"]
    assert (first, unsigned) == (2**63 - 1, 2**64 - 1)
    big = 2**53 + 1
    pairs = [["k", big], ["l", None]]
    assert told_with_pandas["nested"] == [[big, None], [[big, None]], [big, None], {"a": big}, pairs]
    assert told_with_pandas["whole"] == ["object", [big]]
    assert told_with_pandas["part"] == [2]
    assert told_with_pandas["options"][0] == "int64[pyarrow]"


def test_no_command_imports_pandas_where_it_is_installed(tmp_path: Path) -> None:
    code = (
        "import sys, pyarrow as pa; sys.argv = ['millrace', '--version']; from millrace.__main__ import main; "
        "assert main() == 0; pa.array([1]); sys.exit('pandas' in sys.modules)"
    )
    env = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": f"{PYTHON_PATH}:{package_folder('pandas')}",
        "MILLRACE_HOME": str(tmp_path),
    }
    assert subprocess.run([sys.executable, "-c", code], env=env, timeout=100, check=False).returncode == 0


def test_the_examples_of_the_python_page_work(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (CHECKOUT / "docs" / "python.md").read_text().split("\n# Reference\n")[0]
    blocks = [block.split("```")[0] for block in page.split("```python\n")[1:]]
    assert len(blocks) == 2
    (tmp_path / "flights.csv").write_text("month,carrier,arr_delay\n1,UA,5\n1,B6,7\n2,UA,1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("millrace.connect", lambda: store)
    within: dict[str, Any] = {}
    exec(blocks[0], within)
    assert within["table"].to_pydict() == {"carrier": ["UA", "B6"], "arr_delay": [5, 7]}
    store.load("flights", "flights.csv")
    exec(blocks[1].replace("duckdb.sql", "found = duckdb.sql"), within)
    assert within["found"].fetchall() == [("UA", 5.0), ("B6", 7.0)]
    for call in ("polars.DataFrame(ds)", "pyarrow.table(ds)"):
        assert len(eval(call, {"polars": pl, "pyarrow": pa, "ds": store.dataset("flights")})) == 3
