"""Dates and times of JSON lines: the inferred types are those of a CSV with the same texts."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from millrace.errors import SourceError, SourceTypeError
from millrace.sources.text import blocks

Read = Callable[..., pa.Table]
Write = Callable[[str, bytes], Path]

ZONED = ["2023-07-01T12:00:00+02:00", "2023-07-01T12:00:00Z"]
BOTH = ["2023-07-01T12:00:00", "2023-07-01T12:00:00Z"]
DAYS = ["2023-07-01", "1969-12-31"]


def lines(values: list[Any]) -> bytes:
    return b"".join(json.dumps({"at": value}).encode() + b"\n" for value in values)


@pytest.mark.parametrize(
    ("values", "kind", "read_as"),
    [
        (ZONED, pa.timestamp("s", "UTC"), [datetime(2023, 7, 1, 10, tzinfo=UTC), datetime(2023, 7, 1, 12, tzinfo=UTC)]),
        (BOTH, pa.string(), BOTH),
        (BOTH[::-1], pa.string(), BOTH[::-1]),
        (DAYS, pa.date32(), [date(2023, 7, 1), date(1969, 12, 31)]),
        ([DAYS[0], ZONED[1]], pa.string(), [DAYS[0], ZONED[1]]),
        ([DAYS[0], BOTH[0]], pa.timestamp("s"), [datetime(2023, 7, 1), datetime(2023, 7, 1, 12)]),
        ([None, *DAYS], pa.date32(), [None, date(2023, 7, 1), date(1969, 12, 31)]),
        ([DAYS[0], "soon"], pa.string(), [DAYS[0], "soon"]),
        (["2023-07-01T12:00:00.5Z"], pa.string(), ["2023-07-01T12:00:00.5Z"]),
    ],
    ids=str,
)
@pytest.mark.parametrize("block_bytes", [1 << 20, 1])
def test_dates_and_times_get_a_type_that_keeps_them_or_stay_text(
    write: Write,
    read: Read,
    monkeypatch: pytest.MonkeyPatch,
    block_bytes: int,
    values: list[Any],
    kind: pa.DataType,
    read_as: list[Any],
) -> None:
    monkeypatch.setattr(blocks, "BLOCK_BYTES", block_bytes)
    table = read(write("times.jsonl", lines(values)))
    assert table.schema.field("at").type == kind
    assert table.column("at").to_pylist() == read_as


def test_dates_and_zoned_times_are_distinguished_at_any_depth(write: Write, read: Read) -> None:
    path = write(
        "deep.jsonl",
        lines([{"seen": [{"day": DAYS[0], "zoned": ZONED[0]}], "x": 1}, None, {"seen": [], "x": None}])
        + lines([{"seen": [None, {"day": None, "zoned": ZONED[1]}], "x": 2}]),
    )
    table = read(path)
    noon = {"day": None, "zoned": datetime(2023, 7, 1, 12, tzinfo=UTC)}
    assert table.column("at").to_pylist() == [
        {"seen": [{"day": date(2023, 7, 1), "zoned": datetime(2023, 7, 1, 10, tzinfo=UTC)}], "x": 1},
        None,
        {"seen": [], "x": None},
        {"seen": [None, noon], "x": 2},
    ]


@pytest.mark.parametrize(
    ("values", "late", "said"),
    [
        (ZONED, BOTH[0], r"was timestamp\[s, tz=UTC\] and is .* \(timestamp\[s\]\) here"),
        ([BOTH[0]], ZONED[0], r"was timestamp\[s\] and is .* \(timestamp\[s, tz=UTC\]\) here"),
        (DAYS, ZONED[0], r"was date32\[day\] and is .* \(timestamp\[s, tz=UTC\]\) here"),
    ],
)
def test_a_late_time_of_another_kind_is_refused_with_its_line(
    write: Write, read: Read, values: list[str], late: str, said: str
) -> None:
    path = write("late.jsonl", lines(values * 10 + [late]))
    with pytest.raises(SourceTypeError, match=f"line {len(values) * 10 + 1}: column 'at' {said}"):
        read(path, infer_bytes=60)
    text = read(path, infer_bytes=60, column_types=(("at", "string"),))
    assert text.column("at").to_pylist() == [*values * 10, late]


def test_dates_before_late_times_of_day_become_timestamps(write: Write, read: Read) -> None:
    table = read(write("late.jsonl", lines([*DAYS * 10, "2023-07-01 10:00:00", *DAYS])), infer_bytes=20)
    days = [datetime(2023, 7, 1), datetime(1969, 12, 31)]
    assert table.column("at").to_pylist() == [*days * 10, datetime(2023, 7, 1, 10), *days]


def test_a_given_type_applies_and_drops_no_zone(write: Write, read: Read) -> None:
    utc = (("at", "timestamp[s, tz=UTC]"),)
    noon = datetime(2023, 7, 1, 12, tzinfo=UTC)
    assert read(write("both.jsonl", lines(BOTH)), column_types=utc).column("at").to_pylist() == [noon, noon]
    with pytest.raises(SourceError, match=r"zoned.jsonl, line 1"):
        read(write("zoned.jsonl", lines(ZONED)), column_types=(("at", "timestamp[s]"),))
    micro = read(write("micro.jsonl", lines(["2023-07-01 12:00:00.000001"])), column_types=(("at", "timestamp[us]"),))
    assert micro.column("at").to_pylist() == [datetime(2023, 7, 1, 12, 0, 0, 1)]


@pytest.mark.parametrize(
    ("kind", "values", "read_as"),
    [
        ("date32", [DAYS[0], None], [date(2023, 7, 1), None]),
        ("date32", [12, None], [date(1970, 1, 13), None]),
        ("time32[s]", ["12:00:01"], [time(12, 0, 1)]),
        ("time64[us]", ["12:00:01.000002"], [time(12, 0, 1, 2)]),
    ],
)
def test_given_dates_and_times_of_day_are_read_from_texts_and_numbers(
    write: Write, read: Read, kind: str, values: list[Any], read_as: list[Any]
) -> None:
    table = read(write("given.jsonl", lines(values)), column_types=(("at", kind),))
    assert table.column("at").to_pylist() == read_as


@pytest.mark.parametrize(
    ("kind", "good", "bad", "said"),
    [
        ("time32[s]", 86_400, 90_000, "90000 is not a time of day"),
        ("time64[us]", 0, -1, "-1 is not a time of day"),
        ("date64", -86_400_000, 5_000_000, "5000000 is not a whole day"),
        ("list<time32[ms]>", [86_400_000], [1, 86_400_001], "86400001 is not a time of day"),
        ("list<date64>", [None, 0], [0, 1], "1 is not a whole day"),
    ],
)
def test_a_number_that_is_no_time_of_day_or_no_whole_day_is_refused(
    write: Write, read: Read, kind: str, good: Any, bad: Any, said: str
) -> None:
    given_type = (("at", kind),)
    assert read(write("good.jsonl", lines([good])), column_types=given_type).num_rows == 1
    with pytest.raises(SourceTypeError, match=rf"bad.jsonl, line 2: column 'at' was given as .*: {said}") as caught:
        read(write("bad.jsonl", lines([good, bad])), column_types=given_type)
    assert caught.value.hint == "give another type: --column-type at=string"
