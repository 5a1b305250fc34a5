"""Contracts: what a load does with columns and types that differ from the latest version."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from millrace.api import Store
from millrace.errors import SourceTypeError, StoreError, UsageError
from millrace.load import LoadOptions, LoadPlan, SplitResult, measure, report_facts
from millrace.load.evolution import format_setting
from millrace.progress import null_task
from millrace.sources import BadRowBudget, Contract, Reaction, SourceOptions
from tests.unit.load import contract_cases

Text = Callable[..., str]
EVOLVE = Contract(types=Reaction.EVOLVE)


def by(contract: Contract | None = None, mode: str = "append", **options: Any) -> LoadOptions:
    return LoadOptions(mode=mode, contract=contract or Contract(), source=SourceOptions(**options))


@pytest.fixture
def text(tmp_path: Path) -> Text:
    def write(name: str, *lines: str) -> str:
        path = tmp_path / name
        path.write_text("".join(f"{line}\n" for line in lines))
        return str(path)

    return write


def rows(store: Store, name: str = "d", **read: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = store.dataset(name).to_table(**read).to_pylist()
    return found


@pytest.fixture
def old(store: Store, text: Text) -> str:
    store.load("d", text("old.csv", "n,t", "1,x", "2,y"), by())
    return store.version("d").reference


CASES = (*contract_cases.COLUMN_CASES, *contract_cases.TYPE_CASES)
COMMAND = "run: python -m tests.unit.load.contract_cases"


def documented() -> list[str]:
    """Return the lines of the table in docs/sources.md, without the heads."""
    page = contract_cases.PAGE.read_text()
    lines = page.split(contract_cases.BEGIN)[1].split(contract_cases.END)[0].splitlines()
    return [line for line in lines if line.startswith("| ") and "| format |" not in line]


@pytest.mark.parametrize("number", range(len(CASES)), ids=[f"{case.change}, {case.format}" for case in CASES])
def test_each_line_of_the_table_in_the_documentation_is_what_loads_do(
    store: Store, tmp_path: Path, number: int
) -> None:
    case = CASES[number]
    assert documented()[number] == contract_cases.row(case, contract_cases.outcomes(store, case, tmp_path)), COMMAND


def test_the_table_in_the_documentation_has_each_case_once() -> None:
    assert len(documented()) == len(CASES), COMMAND


def test_a_new_column_has_a_tile_of_its_own_and_is_null_in_older_rows(store: Store, text: Text, old: str) -> None:
    before = store.version("d")
    report = store.load("d", text("new.csv", "u,t,n", "0.5,z,3"), by())
    assert rows(store) == [
        {"n": 1, "t": "x", "u": None},
        {"n": 2, "t": "y", "u": None},
        {"n": 3, "t": "z", "u": 0.5},
    ]
    version = store.version("d")
    assert version.layout.columns == (*before.layout.columns, (2,))
    assert [len(ref.tiles) for ref in store.dataset("d").refs()] == [2, 3]
    assert version.format_number == 2
    assert report.schema_changes == ("column 'u' is new, with the type double",)
    assert ("schema change", "column 'u' is new, with the type double") in report_facts(report)


def test_a_version_without_new_columns_keeps_the_layout(store: Store, text: Text, old: str) -> None:
    before = store.version("d")
    store.load("d", text("new.csv", "t,n", "z,3"), by())
    assert store.version("d").layout == before.layout
    assert [len(ref.tiles) for ref in store.dataset("d").refs()] == [2, 2]
    assert rows(store)[-1] == {"n": 3, "t": "z"}


def test_only_versions_whose_chunks_may_lack_tiles_need_the_format_for_it(store: Store, old: str) -> None:
    settings = {name: value for name, value in store.version("d").settings.items() if name != "format"}
    base = replace(store.version("d"), settings=settings)
    assert format_setting(base.layout, None) == {}
    assert format_setting(base.layout, base) == {}
    assert format_setting(base.layout.extended(3), base) == {"format": 2}
    assert format_setting(base.layout, replace(base, settings={**settings, "format": 2})) == {"format": 2}


def test_a_missing_column_is_null_and_reported(store: Store, text: Text, old: str) -> None:
    report = store.load("d", [text("a.csv", "t", "z"), text("b.csv", "n,t", "4,w")], by())
    assert rows(store)[2:] == [{"n": None, "t": "z"}, {"n": 4, "t": "w"}]
    (warning,) = report.warnings
    assert (warning.code, warning.column) == ("missing_column", "n")
    assert warning.message == f"a.csv without column 'n', which {old} has: it is null there"
    assert report.schema_changes == ()


def test_files_of_one_load_may_each_have_other_columns(store: Store, text: Text, tmp_path: Path, old: str) -> None:
    for number, table in enumerate([pa.table({"n": [3]}), pa.table({"v": [1.5], "t": ["z"]}), pa.table({"w": [True]})]):
        pq.write_table(table, tmp_path / f"{number}.parquet")
    store.load("d", str(tmp_path / "*.parquet"), by())
    assert rows(store)[2:] == [
        {"n": 3, "t": None, "v": None, "w": None},
        {"n": None, "t": "z", "v": 1.5, "w": None},
        {"n": None, "t": None, "v": None, "w": True},
    ]


def test_text_is_parsed_with_the_agreed_types(store: Store, text: Text) -> None:
    store.load("d", text("old.csv", "zip,day,x", "a1,2026-11-29,0.5"), by(column_types={"day": "string"}))
    store.load("d", text("new.csv", "zip,day,x", "007,2026-11-30,2"), by())
    store.load("d", text("new.jsonl", '{"zip": 7, "day": "2026-12-01", "x": 3}'), by())
    assert rows(store)[1:] == [
        {"zip": "007", "day": "2026-11-30", "x": 2.0},
        {"zip": "7", "day": "2026-12-01", "x": 3.0},
    ]


def test_frozen_columns_refuse_the_load_whatever_the_budget_is(store: Store, text: Text, old: str) -> None:
    options = LoadOptions(mode="append", contract=Contract(columns=Reaction.FREEZE), bad_rows=BadRowBudget(percent=100))
    new = text("new.csv", "n,t,u,v", "3,z,1,2")
    with pytest.raises(SourceTypeError) as caught:
        store.load("d", new, options)
    assert caught.value.message == f"{new} has u, v, which {old} does not have, and the contract freezes its columns"
    assert "columns: evolve" in caught.value.hint
    assert "columns: discard_value" in caught.value.hint
    assert store.version("d").reference == old


@pytest.mark.parametrize("name", ["new.csv", "new.jsonl", "new.parquet"])
def test_discarded_rows_are_those_with_a_value_in_a_new_column(
    store: Store, tmp_path: Path, text: Text, old: str, name: str
) -> None:
    table = pa.table({"n": [3, 4, 5], "t": ["z", "w", "v"], "u": [None, 7, None]})
    if name == "new.parquet":
        pq.write_table(table, tmp_path / name)
    elif name == "new.csv":
        text(name, "n,t,u", "3,z,", "4,w,7", "5,v,")
    else:
        text(name, *(json.dumps({k: v for k, v in row.items() if v is not None}) for row in table.to_pylist()))
    report = store.load("d", str(tmp_path / name), by(Contract(columns=Reaction.DISCARD_ROW)))
    assert rows(store)[2:] == [{"n": 3, "t": "z"}, {"n": 5, "t": "v"}]
    assert (report.discarded_rows, report.rejected) == (1, 0)


@pytest.mark.parametrize("format", ["CSV", "Parquet"])
def test_values_of_a_new_column_that_is_left_out_are_counted(
    store: Store, tmp_path: Path, old: str, format: str
) -> None:
    table = pa.table({"n": [3, 4, 5], "t": ["z", "w", "v"], "u": [None, 7, 8]})
    new = contract_cases.written(table, format, tmp_path / "new")
    report = store.load("d", new, by(Contract(columns=Reaction.DISCARD_VALUE)))
    assert rows(store)[2:] == [{"n": 3, "t": "z"}, {"n": 4, "t": "w"}, {"n": 5, "t": "v"}]
    assert report.discarded_values == 2
    assert [warning.code for warning in report.warnings] == ["new_column"]


def test_values_that_are_left_out_are_counted_beside_a_broken_record(store: Store, text: Text, old: str) -> None:
    options = replace(by(Contract(columns=Reaction.DISCARD_VALUE)), bad_rows=BadRowBudget(rows=1))
    report = store.load("d", text("new.csv", "n,t,u", "3,z,", "4,w,7", "5", "6,v,8"), options)
    assert (report.rows, report.rejected, report.discarded_values) == (3, 1, 2)
    report = store.load("d", text("broken.csv", "n,t,u", "5"), options)
    assert (report.rows, report.rejected, report.discarded_values) == (0, 1, 0)


def test_rows_with_views_of_text_are_set_aside(store: Store, tmp_path: Path) -> None:
    for name, numbers in (("old", pa.array([1, 2])), ("new", pa.array([0.5, 3.0]))):
        table = pa.table({"n": numbers, "t": pa.array(["a", "b"], pa.string_view())})
        with pa.ipc.new_file(str(tmp_path / f"{name}.arrow"), table.schema) as writer:
            writer.write_table(table)
    store.load("d", tmp_path / "old.arrow")
    report = store.load("d", str(tmp_path / "new.arrow"), by(Contract(types=Reaction.DISCARD_ROW)))
    assert [row["n"] for row in rows(store)] == [1, 2, 3]
    assert rows(store, str(report.rejects))[0]["raw"] == '{"n": 0.5, "t": "a"}'


@pytest.mark.parametrize("types", [Reaction.FREEZE, Reaction.EVOLVE])
def test_an_agreed_type_that_a_format_cannot_be_read_as_is_refused_by_name(
    store: Store, tmp_path: Path, text: Text, types: Reaction
) -> None:
    table = pa.table({"n": [1], "i": pa.array([(1, 2, 3)], pa.month_day_nano_interval())})
    with pa.ipc.new_file(str(tmp_path / "old.arrow"), table.schema) as writer:
        writer.write_table(table)
    store.load("d", tmp_path / "old.arrow")
    for new in (text("new.jsonl", '{"n":1}'), text("new.csv", "n", "1")):
        with pytest.raises(UsageError, match=r"column 'i' of .* cannot be read as month_day_nano_interval"):
            store.load("d", new, by(Contract(types=types)))


@pytest.mark.parametrize("format", ["CSV", "JSON lines", "Parquet"])
@pytest.mark.parametrize(
    ("types", "expected", "counts"),
    [
        (Reaction.FREEZE, [3, 5], (1, 0, 0)),
        (Reaction.DISCARD_ROW, [3, 5], (0, 1, 0)),
        (Reaction.DISCARD_VALUE, [3, None, 5], (0, 0, 1)),
    ],
)
def test_a_value_that_does_not_fit_is_set_aside(
    store: Store,
    tmp_path: Path,
    old: str,
    format: str,
    types: Reaction,
    expected: list[int | None],
    counts: tuple[int, int, int],
) -> None:
    table = pa.table({"n": [3.0, 0.5, 5.0], "t": ["z", "w", "v"]})
    if format == "JSON lines":
        lines = [json.dumps({"n": n, "t": "z"}) for n in (3, "x", 5)]
        (tmp_path / "new").write_text("".join(f"{line}\n" for line in lines))
    else:
        contract_cases.written(table, format, tmp_path / "new")
    options = LoadOptions(mode="append", contract=Contract(types=types), bad_rows=BadRowBudget(rows=1))
    report = store.load("d", str(tmp_path / "new"), options)
    assert [row["n"] for row in rows(store)[2:]] == expected
    assert (report.rejected, report.discarded_rows, report.discarded_values) == counts


def test_a_frozen_type_refuses_the_first_value_that_does_not_fit_without_a_budget(
    store: Store, tmp_path: Path, text: Text, old: str
) -> None:
    with pytest.raises(SourceTypeError, match=r"line 3: column 'n' was int64 and is 'x' \(string\) here"):
        store.load("d", text("new.csv", "n,t", "3,z", "x,w"), by())
    pq.write_table(pa.table({"n": [3.0, 0.5], "t": ["z", "w"]}), tmp_path / "new.parquet")
    with pytest.raises(SourceTypeError) as caught:
        store.load("d", str(tmp_path / "new.parquet"), by())
    assert caught.value.message == "new.parquet, row 2: column 'n': 0.5 (double): it is not int64"
    assert store.version("d").reference == old


def test_rows_of_later_splits_are_numbered_from_the_beginning_of_the_file(
    store: Store, tmp_path: Path, old: str
) -> None:
    table = pa.table({"n": [*map(float, range(30)), 0.5], "t": ["z"] * 31})
    pq.write_table(table, tmp_path / "new.parquet", row_group_size=5)
    with pytest.raises(SourceTypeError, match=r"new\.parquet, row 31: column 'n': 0\.5"):
        store.load("d", str(tmp_path / "new.parquet"), by(split_bytes=1))


def test_types_evolve_to_wider_ones_only(store: Store, text: Text, old: str) -> None:
    report = store.load("d", text("new.csv", "n,t", "0.5,z"), by(EVOLVE))
    assert [row["n"] for row in rows(store)] == [1.0, 2.0, 0.5]
    assert report.schema_changes == ("the type of column 'n' changes from int64 to double",)
    store.load("d", text("third.csv", "n,t", "4,w"), by(EVOLVE))
    assert store.dataset("d").schema.field("n").type == pa.float64()


def test_a_value_that_a_wider_type_does_not_hold_exactly_is_an_error(store: Store, tmp_path: Path, text: Text) -> None:
    big = 2**53 + 1
    store.load("d", text("old.csv", "n", "0.5"), by())
    for name in ("new.csv", "new.jsonl"):
        new = text(name, *(["n", str(big)] if name == "new.csv" else [json.dumps({"n": big})]))
        with pytest.raises(SourceTypeError, match=str(big)):
            store.load("d", new, by(EVOLVE))
    pq.write_table(pa.table({"n": [2, big]}), tmp_path / "new.parquet")
    with pytest.raises(SourceTypeError, match=f"row 2: column 'n': {big}"):
        store.load("d", str(tmp_path / "new.parquet"), by(EVOLVE))
    assert rows(store) == [{"n": 0.5}]


def test_an_explicit_type_that_differs_is_judged_by_the_contract(store: Store, text: Text, old: str) -> None:
    new = text("new.csv", "n,t", "3,z")
    with pytest.raises(SourceTypeError) as caught:
        store.load("d", new, by(column_types={"n": "double"}))
    assert caught.value.message == (f"the option column_types or schema_file: column 'n' is double, and int64 in {old}")
    assert "types: evolve" in caught.value.hint
    store.load("d", new, by(column_types={"n": "int64"}))
    store.load("d", new, by(EVOLVE, column_types={"n": "double"}))
    assert store.dataset("d").schema.field("n").type == pa.float64()


def test_the_option_columns_cannot_leave_out_an_agreed_column(store: Store, text: Text, old: str) -> None:
    with pytest.raises(UsageError, match=f"leaves out 't', which {old} has"):
        store.load("d", text("new.csv", "n,t", "3,z"), by(columns=["n"]))


def test_columns_are_agreed_by_their_new_names(store: Store, text: Text, old: str) -> None:
    store.load("d", text("new.csv", "text,n,u", "z,3,1"), by(rename={"text": "t", "u": "v"}))
    assert rows(store)[2:] == [{"n": 3, "t": "z", "v": 1}]


def test_a_replace_keeps_the_agreed_columns_and_types(store: Store, text: Text, old: str) -> None:
    report = store.load("d", text("new.csv", "u,n", "1,3"), by(mode="replace"))
    assert rows(store) == [{"n": 3, "t": None, "u": 1}]
    assert [len(ref.tiles) for ref in store.dataset("d").refs()] == [len(store.version("d").layout.columns)] == [3]
    assert report.schema_changes == ("column 'u' is new, with the type int64",)


def test_a_load_by_hand_has_no_contract(store: Store, text: Text, old: str) -> None:
    with pytest.raises(SourceTypeError, match="its columns are"):
        store.load("d", text("new.csv", "n,t,u", "3,z,1"), LoadOptions(mode="append"))
    report = store.load("d", text("other.csv", "u", "1"))
    assert rows(store) == [{"u": 1}]
    assert report.schema_changes == (
        "column 'u' is new, with the type int64",
        "column 'n' is gone",
        "column 't' is gone",
    )


def test_a_load_by_hand_appends_to_a_version_with_added_columns(store: Store, text: Text, old: str) -> None:
    store.load("d", text("new.csv", "n,t,u", "3,z,1"), by())
    store.load("d", text("third.csv", "n,t,u", "4,w,2"), LoadOptions(mode="append"))
    assert [row["u"] for row in rows(store)] == [None, None, 1, 2]
    assert store.version("d").layout.columns == ((0,), (1,), (2,))


def test_a_first_load_evolves_under_every_word(store: Store, text: Text) -> None:
    for word in Reaction:
        store.load(f"d_{word}", text("new.csv", "n,t", "1,x", "2,y"), by(Contract.of(word.value)))
        assert len(rows(store, f"d_{word}")) == 2


def test_a_dry_run_reports_the_changes_of_the_schema(store: Store, text: Text, old: str) -> None:
    plan = store.plan("d", text("new.csv", "n,t,u", "3,z,1"), by())
    report = measure(store.settings, LoadPlan.from_json(json.loads(json.dumps(plan.to_json()))), task=null_task())
    assert report.schema_changes == ("column 'u' is new, with the type int64",)


def test_a_repeated_run_is_the_same_version_after_its_schema_evolved(store: Store, text: Text, old: str) -> None:
    new = text("new.csv", "n,t,u", "0.5,z,1")
    first = store.load("d", new, by(EVOLVE), run="r")
    again = store.load("d", new, by(EVOLVE), run="r")
    assert (again.version, len(rows(store))) == (first.version, 3)


def test_contract_and_budget_are_part_of_the_identity_of_a_plan(store: Store, text: Text, old: str) -> None:
    new = text("new.csv", "n,t", "3,z")
    options = [
        LoadOptions(mode="append"),
        by(),
        by(EVOLVE),
        by(Contract(columns=Reaction.FREEZE)),
        LoadOptions(mode="append", contract=Contract(), bad_rows=BadRowBudget(rows=5)),
    ]
    plans = [store.plan("d", new, each, run="r") for each in options]
    assert len({plan.hex for plan in plans}) == len({plan.fingerprint for plan in plans}) == len(options)


def begun(store: Store, source: str, options: LoadOptions) -> tuple[LoadPlan, list[SplitResult]]:
    """Plan a load and write its chunks."""
    plan = store.plan("d", source, options, run=f"run of {Path(source).name}")
    return plan, [store.load_split(plan, None)]


def test_concurrent_appends_are_merged_if_one_adds_columns(store: Store, text: Text, old: str) -> None:
    plan, results = begun(store, text("a.csv", "n,t", "3,z"), by())
    store.load("d", text("b.csv", "n,t,u", "4,w,1"), by())
    store.publish(plan, results)
    assert sorted((row["n"], row["u"] or 0) for row in rows(store)) == [(1, 0), (2, 0), (3, 0), (4, 1)]
    assert store.dataset("d").to_table(filter="u is null").num_rows == 3
    assert (store.version("d").mode, store.version("d").format_number) == ("merge", 2)


def test_concurrent_appends_that_add_the_same_columns_are_merged(store: Store, text: Text, old: str) -> None:
    plan, results = begun(store, text("a.csv", "n,t,u", "3,z,1"), by())
    store.load("d", text("b.csv", "n,t,u", "4,w,0.5"), by())
    store.publish(plan, results)
    assert sorted((row["n"], row["u"] or 0) for row in rows(store)) == [(1, 0), (2, 0), (3, 1.0), (4, 0.5)]


def test_an_append_with_a_contract_is_merged_with_one_by_hand(store: Store, text: Text, old: str) -> None:
    plan, results = begun(store, text("a.csv", "n,t", "3,z"), LoadOptions(mode="append"))
    store.load("d", text("b.csv", "n,t,u", "4,w,1"), by())
    store.publish(plan, results)
    assert sorted((row["n"], row["u"] or 0) for row in rows(store)) == [(1, 0), (2, 0), (3, 0), (4, 1)]


def test_concurrent_appends_that_add_different_columns_stay_apart(store: Store, text: Text, old: str) -> None:
    plan, results = begun(store, text("a.csv", "n,t,v", "3,z,7"), by())
    other = store.load("d", text("b.csv", "n,t,u", "4,w,1"), by())
    with pytest.raises(StoreError) as caught:
        store.publish(plan, results)
    assert "were appended concurrently and cannot be merged: one has column" in caught.value.message
    assert "delete one" in caught.value.hint
    assert {plan.label, other.version} < {version.label for version in store.versions("d")}
    store.delete(f"d@{plan.label}")
    store.load("d", text("a.csv", "n,t,v", "3,z,7"), by(), run="again")
    assert rows(store)[2:] == [{"n": 4, "t": "w", "u": 1, "v": None}, {"n": 3, "t": "z", "u": None, "v": 7}]


def test_a_load_whose_parent_was_replaced_by_other_columns_is_refused(store: Store, text: Text, old: str) -> None:
    plan, results = begun(store, text("a.csv", "n,t,v", "3,z,7"), by())
    store.load("d", text("b.csv", "u", "1"))
    with pytest.raises(SourceTypeError, match="cannot be appended to"):
        store.publish(plan, results)


def test_a_load_whose_parent_was_replaced_by_more_columns_is_appended(store: Store, text: Text, old: str) -> None:
    plan, results = begun(store, text("a.csv", "n,t", "3,z"), by())
    store.load("d", text("b.csv", "n,t,u", "4,w,1"))
    store.publish(plan, results)
    assert rows(store) == [{"n": 4, "t": "w", "u": 1}, {"n": 3, "t": "z", "u": None}]


def test_a_table_is_not_loaded_into_a_dataset_of_files(store: Store, text: Text, tmp_path: Path) -> None:
    store.load("d", text("x.bin", "x"), LoadOptions(source=SourceOptions(format="bytes")))
    with pytest.raises(SourceTypeError, match="is of the kind table"):
        store.load("d", text("new.csv", "n,t", "3,z"), by())


@pytest.mark.parametrize("mode", ["append", "replace"])
def test_files_are_not_loaded_into_a_dataset_of_rows(store: Store, text: Text, old: str, mode: str) -> None:
    with pytest.raises(SourceTypeError, match=f"is of the kind bytes, and {old} of the kind table"):
        store.load("d", text("x.bin", "x"), by(mode=mode, format="bytes"))


def test_a_new_key_in_a_later_line_is_refused_if_columns_freeze(store: Store, text: Text, old: str) -> None:
    lines = [json.dumps({"n": 3, "t": "z"})] * 9
    new = text("new.jsonl", *lines, json.dumps({"n": 3, "t": "z", "u": 1}))
    options = LoadOptions(
        mode="append",
        contract=Contract(columns=Reaction.FREEZE),
        bad_rows=BadRowBudget(percent=100),
        source=SourceOptions(infer_bytes=50),
    )
    with pytest.raises(SourceTypeError, match=r"line 10: the dataset does not have the column 'u', and the contract"):
        store.load("d", new, options)


def test_a_column_that_is_never_null_stays_so_under_freeze(store: Store, tmp_path: Path, text: Text) -> None:
    schema = pa.schema([pa.field("n", pa.int64(), nullable=False)])
    pq.write_table(pa.table({"n": [1]}, schema=schema), tmp_path / "old.parquet")
    pq.write_table(pa.table({"n": [2, None]}), tmp_path / "new.parquet")
    store.load("d", str(tmp_path / "old.parquet"), by())
    budget = LoadOptions(mode="append", contract=Contract(), bad_rows=BadRowBudget(rows=1))
    assert store.load("d", str(tmp_path / "new.parquet"), budget).rejected == 1
    store.load("d", text("new.csv", "n", "3"), by())
    with pytest.raises(SourceTypeError, match=r"null\.csv: column 'n' has a null, and is never null in the dataset"):
        store.load("d", text("null.csv", "n", "4", "NA"), by())
    assert store.dataset("d").to_table().to_pylist() == [{"n": 1}, {"n": 2}, {"n": 3}]
    assert not store.dataset("d").schema.field("n").nullable


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
@pytest.mark.parametrize("reaction", [Reaction.FREEZE, Reaction.DISCARD_VALUE, Reaction.DISCARD_ROW])
def test_more_values_than_a_dictionary_can_number_are_one_clear_error(
    store: Store, tmp_path: Path, ending: str, reaction: Reaction
) -> None:
    kind = pa.dictionary(pa.int8(), pa.string())
    store.load("d", pa.table({"w": pa.array(["a", "b"]).cast(kind)}))
    words = [f"w{number}" for number in range(200)]
    lines = ["w", *words] if ending == "csv" else [json.dumps({"w": word}) for word in words]
    (tmp_path / f"a.{ending}").write_text("".join(f"{line}\n" for line in lines))
    options = replace(by(Contract(types=reaction)), bad_rows=BadRowBudget.of("1%"))
    with pytest.raises(SourceTypeError, match=r"column 'w' is dictionary<values=string, indices=int8") as refused:
        store.load("d", str(tmp_path / f"a.{ending}"), options)
    assert "fit their types alone, but not together" in refused.value.message
    assert len(store.versions("d")) == 1
