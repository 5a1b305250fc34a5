"""The benchmark data: repeated copies of the flights of the installed package, written once."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pc
import pytest

from bench import data
from bench.data import (
    FLIGHTS_ROWS,
    bad_rows_of,
    flights_arrow,
    flights_csv,
    flights_options,
    flights_with_bad_rows,
    sorted_arrow,
    wide_arrow,
)

HEADER = b"carrier,time_hour,delay\n"
BODY = b"UA,2013-01-01T07:00:00Z,NA\nNA,2013-01-01T05:00:00Z,4\n"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "_flights_text", lambda: HEADER + BODY)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("times", [1, 3])
def test_the_rows_are_repeated_as_often_as_asked_after_one_header(tmp_path: Path, times: int) -> None:
    path = flights_csv(times, tmp_path)
    assert path.read_bytes() == HEADER + BODY * times
    assert list(tmp_path.iterdir()) == [path]


def test_a_last_line_without_its_end_does_not_run_into_the_next_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "_flights_text", lambda: (HEADER + BODY)[:-1])
    assert flights_csv(2, tmp_path).read_bytes() == HEADER + BODY * 2


def test_every_hundredth_row_of_each_copy_has_a_text_in_place_of_a_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [f"{number},{number}".encode() for number in range(250)]
    monkeypatch.setattr(data, "_flights_text", lambda: b"\n".join([b"distance,carrier", *rows]) + b"\n")
    monkeypatch.setattr(data, "FLIGHTS_ROWS", 250)
    lines = flights_with_bad_rows(2, tmp_path).read_bytes().splitlines()
    assert lines[0] == b"distance,carrier"
    assert [line for line in lines[1:] if line.startswith(b"near,")] == [b"near,0", b"near,100", b"near,200"] * 2
    assert len(lines) == 501
    assert bad_rows_of(2) == 6


@pytest.mark.usefixtures("small")
def test_an_existing_file_is_used_again(tmp_path: Path) -> None:
    path = flights_csv(2, tmp_path)
    path.write_bytes(HEADER + BODY)
    assert flights_csv(2, tmp_path).read_bytes() == HEADER + BODY


@pytest.mark.usefixtures("small")
def test_the_arrow_file_holds_the_table_that_pyarrow_reads_with_na_as_null(tmp_path: Path) -> None:
    read = pc.read_csv(flights_csv(2, tmp_path), convert_options=flights_options())
    assert read["carrier"].null_count == 2
    with pa.memory_map(str(flights_arrow(2, tmp_path))) as source:
        assert pa.ipc.open_file(source).read_all().equals(read)
    with pa.memory_map(str(sorted_arrow(2, tmp_path))) as source:
        hours = pa.ipc.open_file(source).read_all()["time_hour"].to_pylist()
    assert hours == sorted(hours)
    assert len(hours) == 4


def test_the_wide_table_has_the_columns_asked_for(tmp_path: Path) -> None:
    with pa.memory_map(str(wide_arrow(100, 7, tmp_path))) as source:
        table = pa.ipc.open_file(source).read_all()
    assert (table.num_rows, table.num_columns) == (100, 7)
    assert set(table.schema.types) == {pa.float64()}


def test_the_package_holds_the_flights_that_the_benchmarks_count_on() -> None:
    text = data._flights_text()
    assert text.startswith(b"year,month,day,dep_time")
    assert text.count(b"\n") - 1 in (FLIGHTS_ROWS, FLIGHTS_ROWS - 1)
