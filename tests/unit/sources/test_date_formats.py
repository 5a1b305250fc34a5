from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.errors import InvalidSettingError, SourceTypeError
from millrace.sources import SourceOptions, plan_source
from millrace.sources.date_formats import DateFormats, parse_date_format

Read = Callable[..., pa.Table]
Write = Callable[[str, bytes], Path]


def read_one(format_: str, text: str) -> object:
    formats = DateFormats((format_,))
    value = formats.read(pa.array([text], pa.string()), parse_date_format(format_).type)[0]
    return value.as_py()


@pytest.mark.parametrize(
    ("format_", "text", "value"),
    [
        ("%d.%m.%Y", "03.02.2026", date(2026, 2, 3)),
        ("%d.%m.%Y", "3.2.2026", date(2026, 2, 3)),
        ("%Y-%d-%m", "2026-03-02", date(2026, 2, 3)),
        ("%Y%m%d", "20260203", date(2026, 2, 3)),
        ("%m/%d/%y", "02/03/69", date(1969, 2, 3)),
        ("%m/%d/%y", "02/03/68", date(2068, 2, 3)),
        ("%D", "12/31/99", date(1999, 12, 31)),
        ("%d%b%Y", "3FEB2026", date(2026, 2, 3)),
        ("%B %e, %Y", "march 3, 2026", date(2026, 3, 3)),
        ("%d%%%m%%%Y (x)", "03%02%2026 (x)", date(2026, 2, 3)),
        ("%d.%m.%Y %H:%M", "03.02.2026 7:05", datetime(2026, 2, 3, 7, 5)),
        ("%F %T", "2026-02-03 23:59:59", datetime(2026, 2, 3, 23, 59, 59)),
        ("%m/%d/%Y %I:%M %p", "02/03/2026 12:05 AM", datetime(2026, 2, 3, 0, 5)),
        ("%m/%d/%Y %I:%M %p", "02/03/2026 12:05 pm", datetime(2026, 2, 3, 12, 5)),
        ("%m/%d/%Y %I:%M %p", "02/03/2026 1:05 PM", datetime(2026, 2, 3, 13, 5)),
        ("%d.%m.%Y %H:%M:%S.%f", "03.02.2026 10:00:00.5", datetime(2026, 2, 3, 10, 0, 0, 500_000)),
        ("%Y/%m/%d %H:%M %z", "2026/02/03 10:00 +0130", datetime(2026, 2, 3, 8, 30, tzinfo=UTC)),
        ("%Y/%m/%d %H:%M%z", "2026/02/03 10:00Z", datetime(2026, 2, 3, 10, tzinfo=UTC)),
        ("%H.%M", "7.05", time(7, 5)),
        ("%I %p", "7 PM", time(19)),
        ("%T.%f", "10:05:01.000001", time(10, 5, 1, 1)),
    ],
)
def test_a_text_in_its_format_is_read_as_its_date_or_time(format_: str, text: str, value: object) -> None:
    assert read_one(format_, text) == value


@pytest.mark.parametrize(
    ("format_", "text"),
    [
        ("%d/%m/%Y", "31/02/2026"),
        ("%d/%m/%Y", "29/02/2025"),
        ("%d/%m/%Y", "00/01/2026"),
        ("%d/%m/%Y", "01/13/2026"),
        ("%d/%m/%Y", " 01/01/2026"),
        ("%d/%m/%Y", "01/01/2026\n"),
        ("%d/%m/%Y", "01/01/26"),
        ("%d/%m/%Y", "01/01/2026 10:00"),
        ("%Y-%d-%m", "2026-02-13"),
        ("%Y%m%d", "2026203"),
        ("%d.%m.%Y %H:%M", "03.02.2026 24:00"),
        ("%m/%d/%Y %I:%M %p", "02/03/2026 13:05 PM"),
        ("%m/%d/%Y %I:%M %p", "02/03/2026 0:05 AM"),
        ("%d.%m.%Y %H:%M:%S.%f", "03.02.2026 10:00:00.1234567"),
        ("%d.%m.%Y %H:%M:%S", "03.02.2026 10:00:60"),
    ],
)
def test_a_text_that_is_no_date_in_the_format_is_refused(format_: str, text: str) -> None:
    with pytest.raises(pa.ArrowInvalid):
        read_one(format_, text)


@given(st.datetimes(datetime(1000, 1, 1)), st.sampled_from(["%d.%m.%Y %H:%M:%S.%f", "%Y%m%d%H%M%S.%f"]))
def test_every_time_is_read_exactly(moment: datetime, format_: str) -> None:
    assert read_one(format_, moment.strftime(format_)) == moment


@pytest.mark.parametrize(
    "format_", ["", "%d", "%d.%m", "%q", "%", "abc", "%H:%M %z", "%I:%M", "%d%d", "%f", "%H %I %p", "%%", "%d.%m.%Y%"]
)
def test_an_incomplete_or_invalid_format_is_refused(format_: str) -> None:
    with pytest.raises(InvalidSettingError, match="the date format"):
        SourceOptions(date_format=(format_,))


def test_a_column_gets_the_format_that_fits_all_its_values_and_others_are_unchanged(
    write: Write, read: Read, read_parts: Read, small_blocks: None
) -> None:
    lines = [b"%d;%02d.02.2026;03.02.2026 10:%02d;2026-02-%02d;x%d;" % (n, n, n, n, n) for n in range(1, 29)]
    path = write("a.csv", b"id;day;at;iso;text;none\n" + b"\n".join(lines) + b"\n29;;NA;;31.02.2026;\n")
    options = {"delimiter": ";", "date_format": ["%d.%m.%Y", "%d.%m.%Y %H:%M"]}
    for each in (read(path, **options), read_parts(path, split_bytes=200, **options)):
        kinds = [pa.int64(), pa.date32(), pa.timestamp("s"), pa.date32(), pa.string(), pa.null()]
        assert each.schema.types == kinds
        assert each["day"].to_pylist() == [date(2026, 2, n) for n in range(1, 29)] + [None]
        moments = [datetime(2026, 2, 3, 10) + timedelta(minutes=n) for n in range(1, 29)]
        assert each["at"].to_pylist() == [*moments, None]
        assert each["iso"].to_pylist() == each["day"].to_pylist()
        assert each["text"].to_pylist()[-1] == "31.02.2026"


def test_a_date_after_the_first_bytes_that_does_not_exist_is_refused_with_its_line(write: Write, read: Read) -> None:
    path = write("a.csv", b"day\n" + b"03.02.2026\n" * 50 + b"31.02.2026\n" + b"03.02.2026\n" * 50)
    with pytest.raises(SourceTypeError, match=r"a.csv, line 52: column 'day' was date32\[day\] and is '31.02.2026'"):
        read(path, date_format="%d.%m.%Y", infer_bytes=100)


def test_a_text_in_the_form_of_a_format_is_never_read_as_iso(write: Write, read: Read) -> None:
    path = write("a.csv", b"day\n2026-02-13\n")
    with pytest.raises(SourceTypeError, match=r"column 'day' was date32\[day\] and is '2026-02-13'"):
        read(path, date_format="%Y-%d-%m")


def test_given_types_are_read_by_the_formats_and_null_texts_are_null(write: Write, read: Read) -> None:
    path = write("a.csv", b"a,b,c\n03.02.2026,20260203,n\n-,-,n\n2026-02-04,20260204,n\n")
    types = (("a", "timestamp[ms]"), ("b", "date32"))
    table = read(path, date_format=["%d.%m.%Y", "%Y%m%d"], column_types=types, null_values=["-"])
    assert table["a"].to_pylist() == [datetime(2026, 2, 3), None, datetime(2026, 2, 4)]
    assert table["b"].to_pylist() == [date(2026, 2, 3), None, date(2026, 2, 4)]


def test_digits_are_booleans_if_they_are_given_as_true_and_false(write: Write, read: Read) -> None:
    path = write("a.csv", b"flag,n\n1,0\n0,2\n,1\n")
    assert read(path).schema.types == [pa.int64(), pa.int64()]
    table = read(path, true_value=["1"], false_value=["0"])
    assert table.to_pydict() == {"flag": [True, False, None], "n": [0, 2, 1]}


def test_numbers_become_dates_where_all_of_them_fit_the_format(write: Write, read: Read) -> None:
    path = write("a.csv", b"day,id\n20260203,20260203\n20260204,20261399\n")
    assert read(path, date_format="%Y%m%d").schema.types == [pa.date32(), pa.int64()]


def test_a_date_format_is_part_of_the_plan(write: Write) -> None:
    plan = plan_source(str(write("a.csv", b"day\n03.02.2026\n")), SourceOptions(date_format="%d.%m.%Y"))
    assert plan.options.date_format == ("%d.%m.%Y",)
    assert plan.schema.types == [pa.date32()]
