"""INT96 becomes timestamps in a unit that holds every value exactly, or the file is refused with its column."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from millrace.errors import SourceTypeError
from millrace.sources import plan_source

Read = Callable[..., pa.Table]

FAR = [dt.datetime(9999, 12, 31), dt.datetime(1583, 1, 1, 6), None, dt.datetime(2021, 5, 6, 7, 8, 9, 250000)]
NEAR = pa.array([1_620_284_889_250_000_001, None, -1, -9_223_372_036_854_775_808], pa.timestamp("ns"))
US = pa.timestamp("us")


def written(path: Path, **columns: pa.Array) -> Path:
    table = pa.table({"id": range(4), **columns})
    pq.write_table(table, path, use_deprecated_int96_timestamps=True, store_schema=False, row_group_size=2)
    return path


@pytest.mark.parametrize("within", [lambda moment: moment, lambda moment: [moment], lambda moment: {"a": moment}])
def test_moments_outside_of_nanoseconds_are_read_in_microseconds(
    tmp_path: Path, read: Read, read_parts: Read, within: Callable[[object], object]
) -> None:
    values = [within(moment) for moment in FAR]
    path = written(tmp_path / "until.parquet", until=pa.array(values))
    table = read(path)
    assert table.column("until").to_pylist() == values
    assert "timestamp[us]" in str(table.schema.field("until").type)
    assert read_parts(path, split_bytes=1).equals(table)


def test_moments_in_maps_are_read_in_a_unit_that_holds_them(tmp_path: Path, read: Read) -> None:
    kind = pa.map_(pa.string(), US)
    values = [[("a", FAR[0]), ("b", FAR[2])], [], None, [("c", FAR[1])]]
    path = written(tmp_path / "until.parquet", until=pa.array(values, kind))
    assert read(path).column("until").to_pylist() == values


def test_moments_that_fit_nanoseconds_stay_nanoseconds(tmp_path: Path, read: Read) -> None:
    table = read(written(tmp_path / "near.parquet", at=NEAR))
    assert table.column("at").type == pa.timestamp("ns")
    assert table.column("at").cast(pa.int64()).to_pylist() == NEAR.cast(pa.int64()).to_pylist()


def test_a_folder_gets_one_unit_for_all_files(tmp_path: Path, read: Read) -> None:
    written(tmp_path / "a.parquet", until=pa.array([dt.datetime(2020, 1, 1, 1, 1, 1, 5)] * 4, US))
    written(tmp_path / "b.parquet", until=pa.array(FAR, US))
    assert read(tmp_path).column("until").to_pylist() == [dt.datetime(2020, 1, 1, 1, 1, 1, 5)] * 4 + FAR


@pytest.mark.parametrize("near_first", [True, False])
def test_int96_columns_without_a_common_unit_are_refused_by_name(tmp_path: Path, near_first: bool) -> None:
    columns = {"near": NEAR, "far": pa.array(FAR, US)}
    order = columns if near_first else dict(reversed(columns.items()))
    path = written(tmp_path / "both.parquet", **order)
    with pytest.raises(SourceTypeError, match=r"^both\.parquet: column '(near|far)' is INT96, and no unit") as caught:
        plan_source(str(path))
    assert caught.value.context["column"] == ("far" if near_first else "near")


def test_only_the_columns_that_are_read_decide_on_the_unit(tmp_path: Path, read: Read) -> None:
    path = written(tmp_path / "both.parquet", near=NEAR, far=pa.array(FAR, US))
    far = read(path, columns=("far",), rename=(("far", "until"),))
    assert far.column("until").to_pylist() == FAR
    assert read(path, columns=("near",)).column("near").type == pa.timestamp("ns")


def test_a_day_beyond_microseconds_is_read_in_milliseconds(tmp_path: Path, read: Read) -> None:
    path = tmp_path / "until.parquet"
    table = pa.table({"until": pa.array([dt.datetime(2021, 1, 1)] * 4, US)})
    pq.write_table(table, path, use_deprecated_int96_timestamps=True, compression="none")
    # The last four bytes of an INT96 value are its Julian day. Day 2,459,216 becomes one 300,000 years later.
    day, later = (2_459_216).to_bytes(4, "little"), (2_459_216 + 110_000_000).to_bytes(4, "little")
    data = path.read_bytes()
    assert day in data
    path.write_bytes(data.replace(day, later))
    moments = read(path).column("until")
    assert moments.type == pa.timestamp("ms")
    assert set(moments.cast(pa.int64()).to_pylist()) == {1_609_459_200_000 + 110_000_000 * 86_400_000}
