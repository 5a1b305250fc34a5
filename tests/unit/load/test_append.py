"""Appends: stored values do not change, types do not depend on the order of loads, and refusals suggest a fix."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from millrace.api import Store
from millrace.errors import MillraceError, SourceTypeError, StoreError
from millrace.load import LoadOptions
from millrace.sources import SourceOptions

BIG = 9007199254740995
"""An integer that a double cannot represent exactly."""
APPEND = LoadOptions(mode="append")
Text = Callable[..., str]


def appending(**options: Any) -> LoadOptions:
    return LoadOptions(mode="append", source=SourceOptions(**options))


@pytest.fixture
def text(tmp_path: Path) -> Text:
    def write(name: str, *lines: str) -> str:
        path = tmp_path / name
        path.write_text("".join(f"{line}\n" for line in lines))
        return str(path)

    return write


@pytest.fixture
def rows(tmp_path: Path) -> Text:
    def write(name: str, *values: Any) -> str:
        path = tmp_path / name
        path.write_text("".join(json.dumps({"v": value}) + "\n" for value in values))
        return str(path)

    return write


def column(store: Store, name: str, of: str) -> list[Any]:
    return store.dataset(name).to_table()[of].to_pylist()


def test_an_append_that_would_round_stored_integers_is_refused(store: Store, text: Text) -> None:
    store.load("i", text("old.csv", "id", str(BIG), "1234567890123456789"))
    new = text("new.csv", "id", "0.5")
    with pytest.raises(SourceTypeError) as caught:
        store.load("i", new, APPEND)
    assert caught.value.message == (
        f"{new} cannot be appended to {store.version('i').reference}: column 'id' is int64 and would become double, "
        f"which changes whole numbers like {BIG}"
    )
    assert "another dataset" in caught.value.hint
    assert column(store, "i", "id") == [BIG, 1234567890123456789]
    store.load("other", new)
    assert column(store, "other", "id") == [0.5]


def test_integers_that_doubles_hold_exactly_widen(store: Store, text: Text) -> None:
    exact = [2**53, -(2**53), 2**60, -(2**63), 2**62 + 2**40]
    store.load("i", text("old.csv", "id", *map(str, exact)))
    store.load("i", text("new.csv", "id", "0.5"), APPEND)
    assert column(store, "i", "id") == [*map(float, exact), 0.5]
    assert [int(value) for value in column(store, "i", "id")[:5]] == exact


@pytest.mark.parametrize("around", [lambda v: {"a": v}, lambda v: [v], lambda v: [{"a": [v]}], lambda v: v])
def test_integers_within_lists_and_structs_are_checked_for_rounding_too(
    store: Store, rows: Text, around: Callable[[Any], Any]
) -> None:
    store.load("big", rows("big.jsonl", around(1), around(BIG)))
    store.load("small", rows("small.jsonl", around(1), around(2**53)))
    new = rows("new.jsonl", around(0.5))
    with pytest.raises(SourceTypeError, match=f"column 'v' is .* which changes whole numbers like {BIG}"):
        store.load("big", new, APPEND)
    store.load("small", new, APPEND)
    assert column(store, "small", "v") == [around(1.0), around(2.0**53), around(0.5)]


def test_appended_integers_that_a_column_of_doubles_would_round_are_refused(store: Store, text: Text) -> None:
    store.load("d", text("old.csv", "id", "0.5"))
    with pytest.raises(SourceTypeError, match=f"column 'id' is int64 and would become double.*{BIG}"):
        store.load("d", text("new.csv", "id", "1", str(BIG)), APPEND)
    assert column(store, "d", "id") == [0.5]
    store.load("d", text("more.csv", "id", "1", str(2**60)), APPEND)
    assert column(store, "d", "id") == [0.5, 1.0, 2.0**60]


def test_a_double_after_the_inferred_sample_does_not_round_stored_integers(store: Store, text: Text) -> None:
    store.load("i", text("old.csv", "id", str(BIG)))
    late = text("late.csv", "id", *["1"] * 2000, "0.5")
    with pytest.raises(SourceTypeError, match=f"changes whole numbers like {BIG}"):
        store.load("i", late, appending(infer_bytes=1000))
    assert column(store, "i", "id") == [BIG]


def test_integers_of_one_split_that_doubles_of_another_would_round_are_refused(store: Store, text: Text) -> None:
    source = text("a.csv", "id", *[str(BIG)] * 40, *["1"] * 100, *["0.5"] * 160)
    plan = store.plan("i", source, LoadOptions(source=SourceOptions(split_bytes=800, infer_bytes=60)))
    assert len(plan.source.splits) == 2
    results = [store.load_split(plan, split) for split in range(2)]
    assert [result.arrow_schema().field("id").type for result in results] == [pa.int64(), pa.float64()]
    with pytest.raises(SourceTypeError) as caught:
        store.publish(plan, results)
    assert caught.value.message.startswith(f"{plan.source.splits[0].label}: column 'id'")
    assert str(BIG) in caught.value.message
    assert "--column-type id=string" in caught.value.hint
    assert store.datasets() == []


def test_concurrent_appends_are_not_merged_where_that_would_round_integers(store: Store, text: Text) -> None:
    store.load("i", text("old.csv", "id", "1"))
    plans = [
        store.plan("i", text(f"{k}.csv", "id", value), APPEND, run=f"r{k}") for k, value in ((1, str(BIG)), (2, "0.5"))
    ]
    results = [[store.load_split(plan, None)] for plan in plans]
    first = store.publish(plans[0], results[0])
    with pytest.raises(StoreError, match=f"cannot be merged.*{BIG}"):
        store.publish(plans[1], results[1])
    assert column(store, f"i@{first.version}", "id") == [1, BIG]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (pa.string(), pa.large_string()),
        (pa.large_string(), pa.string()),
        (pa.string(), pa.string_view()),
        (pa.binary(), pa.large_binary()),
        (pa.list_(pa.string()), pa.large_list(pa.large_string())),
        (pa.large_list(pa.string()), pa.list_(pa.string())),
        (pa.struct([("a", pa.string())]), pa.struct([("a", pa.large_string())])),
        (pa.dictionary(pa.int8(), pa.string()), pa.dictionary(pa.int32(), pa.large_string())),
        (pa.dictionary(pa.int8(), pa.string()), pa.string()),
        (pa.string(), pa.dictionary(pa.int8(), pa.string())),
        (pa.float32(), pa.float64()),
        (pa.decimal128(5, 2), pa.decimal128(12, 4)),
        (pa.int16(), pa.float32()),
    ],
    ids=str,
)
@pytest.mark.parametrize("together", [True, False])
def test_columns_that_differ_only_in_width_are_combined(
    store: Store, tmp_path: Path, old: pa.DataType, new: pa.DataType, together: bool
) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    values = []
    for name, kind in (("a", old), ("b", new)):
        value = _value(kind, name)
        pq.write_table(pa.table({"s": pa.array([value, None], kind)}), folder / f"{name}.parquet")
        values += [value, None]
    if together:
        store.load("t", str(folder))
    else:
        store.load("t", str(folder / "a.parquet"))
        store.load("t", str(folder / "b.parquet"), APPEND)
    assert column(store, "t", "s") == values
    # An exported file loads again.
    pq.write_table(store.dataset("t").to_table(), tmp_path / "out.parquet")
    store.load("again", str(tmp_path / "out.parquet"))
    assert column(store, "again", "s") == values


def _value(kind: pa.DataType, letter: str) -> Any:
    if pa.types.is_dictionary(kind):
        return letter
    if pa.types.is_struct(kind):
        return {"a": letter}
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return [letter, None]
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return letter.encode()
    if kind in (pa.string(), pa.large_string(), pa.string_view()):
        return letter
    return Decimal("3.25") if pa.types.is_decimal(kind) else 3


def test_text_of_a_csv_is_appended_to_large_text(store: Store, tmp_path: Path, text: Text) -> None:
    pq.write_table(pa.table({"s": pa.array(["large"], pa.large_string())}), tmp_path / "large.parquet")
    store.load("t", str(tmp_path / "large.parquet"))
    store.load("t", text("text.csv", "s", "small"), APPEND)
    assert column(store, "t", "s") == ["large", "small"]


def refusal(store: Store, source: str, options: LoadOptions = APPEND) -> SourceTypeError:
    with pytest.raises(SourceTypeError) as caught:
        store.load("t", source, options)
    return caught.value


@pytest.mark.parametrize(
    ("old", "given", "new", "kind"),
    [
        (["word"], {}, ["1", "02"], "string"),
        (["2021-05-06 07:08:09.5"], {}, ["2021-05-06 07:08:09"], "timestamp[ns]"),
        (["5"], {"column_types": (("s", "uint64"),)}, ["18", "7"], "uint64"),
        (["0.50"], {"column_types": (("s", "decimal128(10, 2)"),)}, ["1.25"], "decimal128(10, 2)"),
    ],
)
def test_a_refused_append_suggests_a_type_with_which_it_loads(
    store: Store, text: Text, old: list[str], given: dict[str, Any], new: list[str], kind: str
) -> None:
    store.load("t", text("old.csv", "s", *old), LoadOptions(source=SourceOptions(**given)))
    source = text("new.csv", "s", *new)
    error = refusal(store, source)
    assert error.hint == f"give its type in the dataset: --column-type {shlex.quote(f's={kind}')}"
    before = column(store, "t", "s")
    store.load("t", source, appending(column_types=(("s", kind),)))
    after = column(store, "t", "s")
    assert after[: len(before)] == before
    assert [str(value) for value in after[len(before) :]] == [
        value.replace("06", "06 00:00:00") if kind == "timestamp[s]" else value for value in new
    ]


@pytest.mark.parametrize(
    ("old", "new"),
    [("1", "word"), ("true", "2"), ("2021-05-06", "soon"), ("2021-05-06 07:08:09", "2021-05-06 07:08:09.5")],
)
def test_a_refused_append_suggests_no_type_where_none_would_help(store: Store, text: Text, old: str, new: str) -> None:
    store.load("t", text("old.csv", "s", old))
    error = refusal(store, text("new.csv", "s", new))
    assert error.hint == "load it as another dataset"
    assert error.message.endswith(
        f"column 's' is {error.context['expected']} in the dataset and {error.context['actual']} in the source"
    )


def test_a_refused_append_of_parquet_suggests_no_column_type(store: Store, tmp_path: Path) -> None:
    for name, values in (("a", ["x"]), ("b", [1])):
        pq.write_table(pa.table({"s": values}), tmp_path / f"{name}.parquet")
    store.load("t", str(tmp_path / "a.parquet"))
    assert refusal(store, str(tmp_path / "b.parquet")).hint == "load it as another dataset"


def test_the_suggested_type_uses_the_column_name_of_the_source(store: Store, text: Text) -> None:
    store.load("t", text("old.csv", "s", "word"))
    source = text("new.csv", "source name", "1")
    options = appending(rename=(("source name", "s"),))
    assert refusal(store, source, options).hint == "give its type in the dataset: --column-type 'source name=string'"
    store.load("t", source, appending(rename=(("source name", "s"),), column_types=(("source name", "string"),)))
    assert column(store, "t", "s") == ["word", "1"]


def test_a_type_that_was_already_given_is_not_suggested_again(store: Store, text: Text) -> None:
    store.load("t", text("old.csv", "s", "1"))
    error = refusal(store, text("new.csv", "s", "1"), appending(column_types=(("s", "string"),)))
    assert error.hint == "load it as another dataset"


@pytest.mark.parametrize(("lines", "values"), [(["NA", "NA"], ["NA", "NA"]), (["NA", '""', "nan"], ["NA", "", "nan"])])
def test_an_appended_column_of_null_spellings_is_text_where_the_stored_column_is_text(
    store: Store, tmp_path: Path, text: Text, lines: list[str], values: list[str]
) -> None:
    (tmp_path / "parts").mkdir()
    first = text("parts/p1.csv", "code,n", "DE,1", "FR,2")
    second = text("parts/p2.csv", "code,n", *(f"{line},3" for line in lines))
    store.load("apart", first)
    report = store.load("apart", second, APPEND)
    store.load("together", str(tmp_path / "parts"))
    assert column(store, "apart", "code") == column(store, "together", "code") == ["DE", "FR", *values]
    assert report.warnings == ()


def test_null_spellings_given_as_an_option_stay_null(store: Store, text: Text) -> None:
    store.load("c", text("p1.csv", "code,n", "DE,1"))
    store.load("c", text("p2.csv", "code,n", "NA,1"), appending(null_values=("NA",)))
    assert column(store, "c", "code") == ["DE", None]


def test_a_warning_names_a_column_that_held_only_null_spellings_before(store: Store, text: Text) -> None:
    store.load("c", text("p1.csv", "code,n", "NA,1"))
    report = store.load("c", text("p2.csv", "code,n", "DE,1"), APPEND)
    assert column(store, "c", "code") == [None, "DE"]
    [warning] = report.warnings
    assert (warning.code, warning.column) == ("null_before", "code")


def test_a_repeated_append_of_null_spellings_is_the_same_version(store: Store, text: Text) -> None:
    store.load("c", text("p1.csv", "code,n", "DE,1"))
    source = text("p2.csv", "code,n", "NA,1")
    one = store.load("c", source, APPEND, run="night")
    two = store.load("c", source, APPEND, run="night")
    assert one.version == two.version
    assert column(store, "c", "code") == ["DE", "NA"]


def test_an_append_of_numbers_to_text_is_refused_with_a_column_type_that_loads(store: Store, rows: Text) -> None:
    store.load("t", rows("a.jsonl", "word"))
    with pytest.raises(MillraceError, match="--column-type v=string"):
        store.load("t", rows("b.jsonl", 7), APPEND)
    store.load("t", rows("b.jsonl", 7), appending(column_types=(("v", "string"),)))
    assert column(store, "t", "v") == ["word", "7"]


def test_dates_before_a_late_timestamp_become_midnights_in_every_chunk_and_filter(store: Store, rows: Text) -> None:
    days = [f"20{year}-01-02" for year in range(10, 30)] * 4000
    late = "2031-07-01 10:00:00"
    options = LoadOptions(chunk_bytes=65_536, source=SourceOptions(infer_bytes=1000, split_bytes=500_000))
    plan = store.plan("late", rows("late.jsonl", *days, late, days[0]), options)
    store.publish(plan, [store.load_split(plan, split) for split in range(len(plan.source.splits))])
    assert len(plan.source.splits) > 1
    table = store.dataset("late").to_table()
    assert table.schema.field("v").type == pa.timestamp("s")
    assert table["v"].to_pylist() == [
        *(datetime.fromisoformat(day) for day in days),
        datetime(2031, 7, 1, 10),
        datetime(2010, 1, 2),
    ]
    for words, count in (("v > '2030-01-01'", 1), ("v < '2010-06-01'", 4001), ("v = '2029-01-02 00:00:00'", 4000)):
        assert store.dataset("late").to_table(filter=words).num_rows == count


def test_timestamps_are_not_appended_to_dates(store: Store, rows: Text) -> None:
    store.load("days", rows("days.jsonl", "2021-05-06"))
    new = rows("times.jsonl", "2021-05-06 07:08:09")
    with pytest.raises(SourceTypeError) as caught:
        store.load("days", new, APPEND)
    assert caught.value.message == (
        f"{new} cannot be appended to {store.version('days').reference}: column 'v' has dates and would become "
        "timestamp[s]"
    )
    assert "another dataset" in caught.value.hint
    assert column(store, "days", "v") == [date(2021, 5, 6)]


def test_dates_appended_to_timestamps_are_midnights(store: Store, rows: Text) -> None:
    store.load("times", rows("times.jsonl", "2021-05-06 07:08:09"))
    store.load("times", rows("days.jsonl", "2021-05-07"), APPEND)
    assert column(store, "times", "v") == [datetime(2021, 5, 6, 7, 8, 9), datetime(2021, 5, 7)]
