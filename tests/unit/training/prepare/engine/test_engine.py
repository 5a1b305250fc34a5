"""The engine: inputs from streams, the query over views, and errors in one line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from local_stack.settings import PYTHON_PATH
from millrace.errors import SourceError, UsageError
from millrace.training.prepare.engine import Engine, Scratch
from millrace.training.prepare.query import CheckedQuery, InputNeed
from tests.unit.training.prepare.query.declared import checked

MEMORY_BYTES = 150_000_000
ROWS = pa.table({"a": range(1000), "b": [f"text {n}" for n in range(1000)], "late": [n % 7 for n in range(1000)]})


def query(sql: str, *, one_thread: bool = False) -> CheckedQuery:
    return CheckedQuery(sql, {"rows": InputNeed(("a", "b", "late"))}, one_thread)


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Scratch]:
    with Scratch(tmp_path, name="late") as opened:
        yield opened


@pytest.fixture
def engine(scratch: Scratch) -> Iterator[Engine]:
    with Engine(scratch, memory_bytes=MEMORY_BYTES, threads=2) as opened:
        opened.add_input("rows", ROWS.to_reader(100), hidden=["late"])
        yield opened


def test_rows_are_stored_in_their_order_and_counted(scratch: Scratch) -> None:
    seen: list[int] = []
    with Engine(scratch, memory_bytes=MEMORY_BYTES, threads=0) as engine:
        assert engine.add_input("rows", ROWS.to_reader(300), progress=seen.append) == 1000
        assert [row[0] for row in engine.rows("select a from rows")] == list(range(1000))
    assert seen == [300, 600, 900, 1000]


def test_the_query_runs_over_the_view_and_its_rows_can_be_read_as_batches(engine: Engine) -> None:
    assert engine.run_query(query("select a * 2 as twice, b from rows where a < 10 -- the end")) == 10
    batches = list(engine.batches("select * from millrace_work.result order by twice desc", batch_rows=4))
    assert pa.Table.from_batches(batches).column("twice").to_pylist() == list(range(18, -1, -2))
    assert max(batch.num_rows for batch in batches) <= 4
    engine.drop("result")
    assert engine.run_query(query("select 1 as x")) == 1


@pytest.mark.parametrize("one_thread", [True, False])
def test_the_query_has_its_threads_and_the_program_has_all(engine: Engine, one_thread: bool) -> None:
    engine.run_query(query("select current_setting('threads') as threads from rows limit 1", one_thread=one_thread))
    assert engine.rows("select * from millrace_work.result") == [(1 if one_thread else 2,)]
    assert engine.rows("select current_setting('threads')") == [(2,)]


@pytest.mark.parametrize(
    "sql",
    [
        "select late from rows",
        "select r.late from rows r",
        "select x.late from (select * from rows) x",
        "with x as (select * from rows) select late from x",
        "select (select max(late) from rows) as m",
        "select a from rows where late = 1",
        "select a from rows order by late",
        "select * replace (late as a) from rows",
        "select struct_extract(r, 'late') from rows r",
    ],
)
def test_a_hidden_column_is_refused_by_duckdb_itself(engine: Engine, sql: str) -> None:
    with pytest.raises(UsageError, match=r"the query of late failed: .*late"):
        engine.run_query(query(sql))


@pytest.mark.parametrize("sql", ["select r.late from rows r", "select LATE from rows", "select late as late from rows"])
def test_the_refusal_of_a_hidden_column_has_its_reason(engine: Engine, sql: str) -> None:
    with pytest.raises(UsageError) as caught:
        engine.run_query(query(sql))
    assert "late is in after, and the query cannot use it" in caught.value.hint
    assert "Values list" not in caught.value.message


def test_an_unknown_column_is_not_said_to_be_hidden(engine: Engine) -> None:
    with pytest.raises(UsageError) as caught:
        engine.run_query(query("select lat from rows"))
    assert "after" not in caught.value.hint


@pytest.mark.parametrize("sql", ["select * from rows", "with x as (from rows) from x", "select columns(*) from rows"])
def test_a_star_has_no_hidden_column(engine: Engine, sql: str) -> None:
    engine.run_query(query(sql))
    assert [name for name, *_ in engine.rows("describe millrace_work.result")] == ["a", "b"]
    assert engine.rows("select max(late) from millrace_inputs.rows") == [(6,)]


def test_the_settings_are_locked_and_nothing_outside_is_reached(engine: Engine, tmp_path: Path) -> None:
    settings = "'TimeZone', 'asof_loop_join_threshold', 'enable_external_access', 'lock_configuration'"
    names = [f"current_setting({name})" for name in settings.split(", ")]
    assert engine.rows(f"select {', '.join(names)}") == [("UTC", 0, False, True)]
    (tmp_path / "x.csv").write_text("a\n1\n")
    mine = pa.table({"x": [1]})
    for sql in (f"from '{tmp_path}/x.csv'", f"from read_csv('{tmp_path}/x.csv')", "from mine", "set threads = 1"):
        with pytest.raises(UsageError):
            engine.rows(sql)
    assert mine.num_rows == 1


def test_a_zone_of_the_machine_changes_no_date(scratch: Scratch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    moment = pa.table({"t": pa.array([0], pa.timestamp("us", "UTC"))})
    with Engine(scratch, memory_bytes=MEMORY_BYTES, threads=1) as engine:
        engine.add_input("rows", moment.to_reader())
        engine.run_query(query("select cast(t as date)::varchar as day from rows"))
        [batch] = engine.batches("select * from millrace_work.result", batch_rows=10)
    assert batch.to_pylist() == [{"day": "1970-01-01"}]


@pytest.mark.parametrize("sql", ["select 1; drop table rows", "drop table rows", "insert into rows values (1)", ""])
def test_the_engine_itself_runs_one_select_only(engine: Engine, sql: str) -> None:
    with pytest.raises(UsageError, match="not one SELECT statement"):
        engine.run_query(query(sql))
    with pytest.raises(UsageError, match="not one SELECT statement"):
        engine.result_schema(query(sql))


def test_no_progress_bar_is_printed(engine: Engine) -> None:
    [batch] = engine.batches("select current_setting('enable_progress_bar') as bar", batch_rows=1)
    assert batch.to_pylist() == [{"bar": False}]
    assert engine.rows("select current_setting('enable_progress_bar')") == [(False,)]


def test_a_stream_may_be_left_before_its_end(engine: Engine) -> None:
    for _ in range(10):
        stream = engine.batches("select * from rows order by b", batch_rows=10)
        assert next(stream).num_rows == 10
        stream.close()  # type: ignore[attr-defined]
    streams = [engine.batches("select a from rows", batch_rows=10) for _ in range(6)]
    assert [next(stream).num_rows for stream in streams] == [10] * 6


def test_types_are_known_without_running(engine: Engine) -> None:
    schema = engine.result_schema(query("select a, b, [a, 1]::FLOAT[2] as v, error('run') as e from rows"))
    assert schema.names == ["a", "b", "v", "e"]
    assert schema.field("v").type.list_size == 2


def test_batches_and_other_calls_may_alternate(engine: Engine) -> None:
    stream = engine.batches("select a from rows order by a", batch_rows=100)
    first = next(stream)
    assert engine.create("other", "select 1 as x") == 1
    assert engine.rows("select x from millrace_work.other") == [(1,)]
    assert first.num_rows + sum(batch.num_rows for batch in stream) == 1000


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("select cast(b as int) from rows", "Could not convert string 'text 0' to INT32.*line 1: select cast"),
        ("select a,\n  nothing from rows", r'Referenced column "nothing" not found.*line 2: nothing from rows'),
        ("select a::tinyint from rows", "out of range"),
    ],
)
def test_an_error_of_the_query_is_one_line_without_paths(engine: Engine, sql: str, message: str) -> None:
    with pytest.raises(UsageError, match=f"the query of late failed: .*{message}") as raised:
        engine.run_query(query(sql))
    assert "\n" not in str(raised.value)
    assert engine.rows("select 1") == [(1,)]


@pytest.mark.parametrize("error", [SourceError("cut short"), KeyboardInterrupt(), UsageError("no node")])
def test_an_error_of_an_input_is_raised_as_it_was(engine: Engine, error: BaseException) -> None:
    def batches() -> Iterator[pa.RecordBatch]:
        yield from ROWS.to_batches(max_chunksize=100)[:2]
        raise error

    reader = pa.RecordBatchReader.from_batches(ROWS.schema, batches())
    with pytest.raises(type(error)) as raised:
        engine.add_input("broken", reader)
    assert raised.value is error


@pytest.mark.parametrize("kind", [pa.float16(), pa.decimal256(60)])
def test_a_type_that_sql_cannot_read_is_refused_by_column(engine: Engine, kind: pa.DataType) -> None:
    with pytest.raises(UsageError, match=r"column 'x' of input 'other' has the type .*leave the column out"):
        engine.add_input("other", pa.schema([("x", kind)]).empty_table().to_reader())


def test_columns_that_differ_in_case_only_are_refused(engine: Engine) -> None:
    with pytest.raises(UsageError, match="two columns 'x'"):
        engine.add_input("other", pa.table({"x": [1], "X": [2]}).to_reader())


def test_names_are_quoted(scratch: Scratch) -> None:
    with Engine(scratch, memory_bytes=MEMORY_BYTES, threads=1) as engine:
        engine.add_input('a "b"; --', pa.table({'x "y"': [1], "select": [2]}).to_reader(), hidden=["select"])
        assert engine.run_query(query('select * from "a ""b""; --"')) == 1
        assert engine.create('t "u"', "select 1 as x") == 1
        engine.drop('t "u"')


def test_temporary_files_beyond_their_room_are_the_error_of_a_full_disk(tmp_path: Path) -> None:
    with Scratch(tmp_path, name="late", headroom=1) as scratch:
        scratch.require_room(20_000_000)
        with Engine(scratch, memory_bytes=40_000_000, threads=1) as engine:
            engine.add_input("rows", ROWS.to_reader())
            wide = (
                "select repeat(b, 20) as c, md5(a::varchar || i::varchar) as d from rows, range(2000) r(i) order by d"
            )
            with pytest.raises(UsageError, match=r"no room on the disk: .* late needs more than its room of 20"):
                engine.run_query(query(wide))
            assert engine.spilled_bytes > 5_000_000
    assert list(tmp_path.iterdir()) == []


def test_a_result_that_grows_beyond_the_room_is_stopped(tmp_path: Path) -> None:
    with Scratch(tmp_path, name="late", headroom=1) as scratch:
        scratch.require_room(30_000_000)
        with Engine(scratch, memory_bytes=MEMORY_BYTES, threads=2) as engine:
            engine.add_input("rows", ROWS.to_reader())
            with pytest.raises(UsageError, match=r"no room on the disk: .* late needs more than its room of 30"):
                engine.run_query(query("select md5(a::varchar || i::varchar) as d from rows, range(100000) r(i)"))
            assert engine.rows("select count(*) from rows") == [(1000,)]
            assert engine.spilled_bytes < 1_000_000_000


def test_an_asof_join_equals_plain_python(scratch: Scratch) -> None:
    left = pa.table({"t": [3, 5, 7, 9, 5, None, 1], "k": ["a", "a", "b", "b", "c", "a", None]})
    right = pa.table({"t": [3, 4, 5, 7, 6, None], "k": ["a", "a", "a", "b", "b", "a"], "v": [1, 2, 3, 4, 5, 6]})
    with Engine(scratch, memory_bytes=MEMORY_BYTES, threads=2) as engine:
        engine.add_input("l", left.to_reader(2))
        engine.add_input("r", right.to_reader(2))
        engine.run_query(query("select l.t, l.k, r.v from l asof left join r on l.k = r.k and r.t <= l.t - 1"))
        found = sorted(map(repr, engine.rows("select * from millrace_work.result")))
    assert found == sorted(map(repr, joined(left.to_pylist(), right.to_pylist())))


def joined(left: list[dict[str, Any]], right: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    def latest(row: dict[str, Any]) -> Any:
        known = [
            (other["t"], other["v"])
            for other in right
            if None not in (row["t"], row["k"], other["t"]) and other["k"] == row["k"] and other["t"] <= row["t"] - 1
        ]
        return max(known)[1] if known else None

    return [(row["t"], row["k"], latest(row)) for row in left]


def test_one_thread_or_two_give_the_same_rows_for_sums_of_floats(tmp_path: Path) -> None:
    numbers = pa.table({"k": [n % 3 for n in range(200_000)], "x": [1 / (n + 1) for n in range(200_000)]})
    results = []
    for threads in (1, 2, 2):
        with (
            Scratch(tmp_path, name="late") as scratch,
            Engine(scratch, memory_bytes=MEMORY_BYTES, threads=threads) as engine,
        ):
            engine.add_input("flights", numbers.to_reader(10_000))
            engine.run_query(query("select k, sum(x) as s from flights group by k", one_thread=True))
            results.append(engine.rows("select * from millrace_work.result order by k"))
    assert results[0] == results[1] == results[2]


def test_the_shipped_query_runs_over_its_checked_needs(scratch: Scratch) -> None:
    sql = (
        "SELECT f.time_hour, f.carrier, f.flight, w.temp, w.time_hour AS known_at FROM flights f "
        "ASOF LEFT JOIN weather w ON f.origin = w.origin AND w.time_hour <= f.time_hour - INTERVAL 2 HOUR"
    )
    ready = checked(sql)
    hour = 3_600_000_000
    flights = {"time_hour": [10 * hour], "carrier": ["UA"], "flight": [1], "origin": ["JFK"], "arr_delay": [20.0]}
    weather = {"origin": ["JFK"] * 3, "time_hour": [7 * hour, 8 * hour, 9 * hour], "temp": [1.0, 2.0, 3.0]}
    with Engine(scratch, memory_bytes=MEMORY_BYTES, threads=2) as engine:
        for alias, values in (("flights", flights), ("weather", weather)):
            columns = ready.needs[alias].columns
            table = pa.table({name: values[name] for name in columns})
            place = table.schema.get_field_index("time_hour")
            table = table.set_column(place, "time_hour", table["time_hour"].cast(pa.timestamp("us", "UTC")))
            engine.add_input(alias, table.to_reader(), hidden=["arr_delay"])
        assert ready.one_thread
        engine.run_query(ready)
        assert engine.rows("select temp, epoch_us(known_at) from millrace_work.result") == [(2.0, 8 * hour)]


MEASURED = """
import sys
from pathlib import Path
import numpy as np, pyarrow as pa
from millrace.training.prepare.engine import Engine, Scratch
from millrace.training.prepare.query import CheckedQuery, InputNeed
schema = pa.schema([("t", pa.int64()), *((f"x{n}", pa.float64()) for n in range(15))])
def batches():
    for part in range(20):
        rows = np.arange(part * 15_000, (part + 1) * 15_000)
        yield pa.record_batch([pa.array(rows), *(pa.array(rows * (n + 0.1)) for n in range(15))], schema=schema)
with Scratch(Path(sys.argv[1]), name="late") as scratch, Engine(scratch, memory_bytes=150_000_000, threads=2) as engine:
    engine.add_input("rows", pa.RecordBatchReader.from_batches(schema, batches()))
    sql = "select l.*, r.x1 as y from rows l asof left join rows r on r.t <= l.t - 10"
    engine.run_query(CheckedQuery(sql, {"rows": InputNeed(("t",))}, True))
    rows = sum(len(batch) for batch in engine.batches(
        "select * from millrace_work.result order by md5(t::varchar)", batch_rows=10_000))
    # Not ru_maxrss: that begins with what the parent had.
    peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    print(rows, int(peak.split()[1]) * 1024, engine.spilled_bytes)
"""


def test_memory_stays_bounded_where_the_rows_are_larger(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": PYTHON_PATH}
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(tmp_path)], env=environment, capture_output=True, text=True, check=True
    )
    rows, peak_bytes, spilled_bytes = map(int, done.stdout.split())
    assert rows == 300_000
    assert peak_bytes < 500_000_000
    assert spilled_bytes > 10_000_000
    assert list(tmp_path.iterdir()) == []
