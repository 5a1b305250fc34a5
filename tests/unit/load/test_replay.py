"""Rejected rows are published with their load, and loaded again once, on an in-memory cluster."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from millrace.api import Store
from millrace.errors import BadRowsError, InvalidNameError, SourceTypeError, UsageError
from millrace.load import LoadOptions, LoadReport
from millrace.sources import BadRowBudget, Contract, Reaction, SourceOptions

AGE = (("age", "int64"),)


def options(budget: str = "10", mode: str = "replace", **source: Any) -> LoadOptions:
    return LoadOptions(mode=mode, bad_rows=BadRowBudget.of(budget), source=SourceOptions(column_types=AGE, **source))


@pytest.fixture
def visits(tmp_path: Path) -> str:
    path = tmp_path / "visits.csv"
    path.write_text("age,name\n1,a\n2.5,b\nx,c\n4,d\n5,e,f\n6,g\n")
    return str(path)


def rows(store: Store, reference: str) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in store.dataset(reference).to_table().to_pylist()]


def rejected(store: Store, report: LoadReport | None) -> list[tuple[Any, ...]]:
    assert report is not None
    assert report.rejects is not None
    table = store.dataset(report.rejects).to_table(["file", "line", "column", "raw"])
    return [tuple(row.values()) for row in table.to_pylist()]


def test_a_load_within_its_budget_names_its_rejects(store: Store, visits: str) -> None:
    report = store.load("visits", visits, options())
    assert rows(store, "visits") == [(1, "a"), (4, "d"), (6, "g")]
    assert report.rejected == 3
    assert rejected(store, report) == [
        ("visits.csv", 3, "age", "2.5,b"),
        ("visits.csv", 4, "age", "x,c"),
        ("visits.csv", 6, "", "5,e,f"),
    ]
    version = store.version("visits")
    assert version.settings["rejects"]["rows"] == 3
    assert f"visits__rejects@{version.settings['rejects']['version']}" == report.rejects
    assert store.report(version).rejects == report.rejects


def test_a_load_without_a_bad_row_makes_no_version_of_rejects(store: Store, tmp_path: Path) -> None:
    (tmp_path / "good.csv").write_text("age,name\n1,a\n")
    report = store.load("visits", tmp_path / "good.csv", options())
    assert (report.rejected, report.rejects) == (0, None)
    assert [info.name for info in store.datasets()] == ["visits"]


@pytest.mark.parametrize(("budget", "count"), [("2", "more than 2 bad rows"), ("49%", "3 bad rows of 6")])
def test_a_load_over_its_budget_publishes_only_its_rejects(store: Store, visits: str, budget: str, count: str) -> None:
    with pytest.raises(BadRowsError) as caught:
        store.load("visits", visits, options(budget))
    assert count in caught.value.message
    assert "visits.csv, line 3: column 'age': '2.5' is not int64" in caught.value.message
    version = store.version("visits__rejects")
    assert version.reference in caught.value.hint
    assert version.settings["rejects_of"]["failed"]
    assert [info.name for info in store.datasets()] == ["visits__rejects"]
    assert not caught.value.retriable
    with pytest.raises(UsageError, match="a load that failed"):
        store.replay("visits__rejects")


def test_the_budget_is_judged_over_all_splits(store: Store, tmp_path: Path) -> None:
    (tmp_path / "many.csv").write_text("age,name\n" + "".join(f"{n if n % 10 else 'x'},a\n" for n in range(1000)))
    for budget, fails in (("100", False), ("60", True), ("10%", False), ("9.9%", True)):
        plan = store.plan("visits", tmp_path / "many.csv", options(budget, split_bytes=1000), run=f"run {budget}")
        results = [store.load_split(plan, split.index) for split in plan.source.splits]
        assert len(results) > 2
        if fails:
            with pytest.raises(BadRowsError):
                store.publish(plan, results)
            assert store.version("visits__rejects").rows == 100
        else:
            report = store.publish(plan, results)
            assert (report.rows, report.rejected) == (900, 100)
            assert [line for _, line, *_ in rejected(store, report)] == list(range(2, 1002, 10))


def test_a_split_that_alone_exceeds_a_number_of_rows_ends_at_once(store: Store, tmp_path: Path) -> None:
    (tmp_path / "many.csv").write_text("age,name\n" + "x,a\n" * 1000)
    plan = store.plan("visits", tmp_path / "many.csv", options("5", split_bytes=1000))
    with pytest.raises(BadRowsError) as caught:
        store.load_split(plan, 1)
    assert store.version("visits__rejects").rows == 6
    assert store.version("visits__rejects").reference in caught.value.hint


def test_a_repeated_load_keeps_each_reject_once(store: Store, visits: str) -> None:
    first = store.load("visits", visits, options(), run="run")
    plan = store.plan("visits", visits, options(), run="run")
    assert plan.published
    assert store.published(plan).rejects == first.rejects
    again = store.publish(plan, [store.load_split(plan, None)])
    assert (again.rejects, again.rejected) == (first.rejects, 3)
    assert len(store.versions("visits__rejects")) == 1


def test_a_load_killed_between_its_two_versions_keeps_each_reject_once(
    store: Store, visits: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from millrace.load.version_row import VersionRowWriter

    write = VersionRowWriter.write

    def killed(steps: VersionRowWriter, plan: Any) -> Any:
        if plan.dataset == "visits":
            raise KeyboardInterrupt
        return write(steps, plan)

    with monkeypatch.context() as patch:
        patch.setattr(VersionRowWriter, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            store.load("visits", visits, options(), run="run")
    assert len(store.versions("visits__rejects")) == 1
    report = store.load("visits", visits, options(), run="run")
    assert report.rejected == 3
    assert len(store.versions("visits__rejects")) == 1
    assert store.version("visits__rejects").settings["rejects_of"]["failed"] is False


def test_a_replay_appends_the_rows_that_fit_now_once(store: Store, visits: str) -> None:
    store.load("visits", visits, options())
    first = store.version("visits")
    replay = store.replay("visits", column_types=[("age", "float64")])
    assert rows(store, "visits") == [(1, "a"), (4, "d"), (6, "g"), (2.5, "b")]
    assert rejected(store, replay.load) == [("visits.csv", 4, "age", "x,c"), ("visits.csv", 6, "", "5,e,f")]
    assert store.version("visits").settings["replays"] == first.label
    again = store.replay(first.reference, column_types=[("name", "string")])
    assert again.load is None
    assert f"replay {store.version('visits').reference} for the 2 rows that are left" in again.message
    assert len(store.versions("visits")) == 2


def test_a_replay_with_a_type_that_does_not_fit_the_dataset_names_the_rejects(store: Store, visits: str) -> None:
    store.load("visits", visits, options())
    version = store.version("visits").reference
    with pytest.raises(SourceTypeError, match=f"^rejects of {version} cannot be appended to {version}: column 'age'"):
        store.replay("visits", column_types=[("age", "string")])


def test_a_replay_adds_no_file_so_an_unchanged_source_is_not_loaded_over_it(store: Store, visits: str) -> None:
    declared = replace(options(), skip_unchanged=True)
    store.load("visits", visits, declared)
    store.replay("visits", column_types=[("age", "float64")])
    assert [file.uri for file in store.catalogue.pages.files(store.version("visits"))] == [visits]
    assert store.load("visits", visits, declared).skipped == "unchanged"
    assert store.load("visits", visits, replace(declared, mode="incremental")).skipped == "unchanged"
    assert (2.5, "b") in rows(store, "visits")


def test_a_replay_in_which_no_row_fits_makes_no_version_and_can_be_repeated(store: Store, visits: str) -> None:
    store.load("visits", visits, options())
    with pytest.raises(BadRowsError, match="none of the rows"):
        store.replay("visits")
    assert len(store.versions("visits")) == 1
    assert len(store.versions("visits__rejects")) == 1
    assert store.replay("visits", column_types=[("age", "float64")]).load is not None


def test_a_replay_is_refused_after_a_replace_and_where_nothing_was_rejected(store: Store, visits: str) -> None:
    store.load("visits", visits, options())
    replaced = store.version("visits").reference
    store.load(
        "visits",
        visits,
        LoadOptions(source=SourceOptions(columns=("name",)), bad_rows=BadRowBudget.of(5)),
    )
    with pytest.raises(UsageError, match=f"{store.version('visits').reference} replaced them"):
        store.replay(replaced)
    Path(visits).write_text("age,name\n1,a\n")
    store.load("visits", visits)
    with pytest.raises(UsageError, match="rejected nothing"):
        store.replay("visits")


def test_json_lines_are_replayed_with_their_first_lines(store: Store, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"age":1}\n\n{"age":2.5}\n{"age":\n')
    store.load("visits", tmp_path / "a.jsonl", options())
    replay = store.replay("visits", column_types=[("age", "float64")])
    assert rows(store, "visits") == [(1.0,), (2.5,)]
    assert [line for _, line, *_ in rejected(store, replay.load)] == [4]


def test_rows_whose_text_is_not_complete_are_counted_and_not_replayed(store: Store, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"age,name\n1,a\n2.5,b\n3,\xff\nx," + b"y" * 70_000 + b"\n")
    store.load("visits", tmp_path / "a.csv", options())
    replay = store.replay("visits", column_types=[("age", "float64")])
    assert (replay.cut, rows(store, "visits")) == (2, [(1.0, "a"), (2.5, "b")])


LINES = {
    "csv": ("age,name\n1,a\n2.5,b\n", "age,name,city\n3,c,x\n"),
    "jsonl": ('{"age":1,"name":"a"}\n{"age":2.5,"name":"b"}\n', '{"age":3,"name":"c","city":"x"}\n'),
}


@pytest.mark.parametrize("format", LINES)
def test_a_version_is_replayed_after_appends_with_new_columns(store: Store, tmp_path: Path, format: str) -> None:
    first, second = tmp_path / f"first.{format}", tmp_path / f"second.{format}"
    for path, text in zip((first, second), LINES[format], strict=True):
        path.write_text(text)
    store.load("visits", first, options(infer_bytes=1, columns=("age", "name")))
    replayed = store.version("visits").reference
    store.load("visits", second, LoadOptions(mode="append", contract=Contract()))
    store.replay(replayed, column_types=[("age", "float64")])
    assert rows(store, "visits") == [(1, "a", None), (3, "c", "x"), (2.5, "b", None)]


@pytest.mark.parametrize("format", ["csv", "jsonl", "parquet"])
def test_rows_dropped_for_a_new_column_stay_until_the_dataset_has_it(store: Store, tmp_path: Path, format: str) -> None:
    table = pa.table({"age": [1, 2], "name": ["a", "b"], "city": ["x", None]})
    for name, part in (("old", table.select(["age", "name"])), ("new", table)):
        path = tmp_path / f"{name}.{format}"
        if format == "parquet":
            pq.write_table(part, path)
        elif format == "csv":
            lines = [",".join(value or "" for value in map(str, row.values())) for row in part.to_pylist()]
            path.write_text("\n".join([",".join(part.column_names), *(line.replace("None", "") for line in lines)]))
        else:
            present = [{name: value for name, value in row.items() if value} for row in part.to_pylist()]
            path.write_text("\n".join(map(json.dumps, present)))
    old, new = str(tmp_path / f"old.{format}"), str(tmp_path / f"new.{format}")
    store.load("visits", old)
    drop = Contract(columns=Reaction.DISCARD_ROW)
    assert store.load("visits", new, LoadOptions(mode="append", contract=drop)).discarded_rows == 1
    replayed = store.version("visits").reference
    with pytest.raises(BadRowsError, match=r"the first: new.*column 'city'"):
        store.replay(replayed)
    store.load("visits", new, LoadOptions(mode="append", contract=Contract()))
    store.replay(replayed)
    assert rows(store, "visits")[-1] == (1, "a", "x")


def test_a_line_with_a_new_column_does_not_keep_the_others_from_a_replay(store: Store, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"age":1}\n{"age":2,"name":"b"}\n{"age":2.5}\n')
    assert store.load("visits", tmp_path / "a.jsonl", options(infer_bytes=1)).rejected == 2
    replay = store.replay("visits", column_types=[("age", "float64")])
    assert rows(store, "visits") == [(1,), (2.5,)]
    assert [line for _, line, *_ in rejected(store, replay.load)] == [2]


def test_rows_with_bytes_are_not_replayed_because_json_has_no_bytes(store: Store, tmp_path: Path) -> None:
    nothing = pa.nulls(1, pa.binary())
    for name, numbers, data in (("old", pa.array([1], pa.int32()), nothing), ("new", [2**40], pa.array([b"\x00"]))):
        pq.write_table(pa.table({"n": numbers, "data": data}), tmp_path / f"{name}.parquet")
    store.load("d", tmp_path / "old.parquet")
    drop = LoadOptions(mode="append", contract=Contract(types=Reaction.DISCARD_ROW))
    store.load("d", tmp_path / "new.parquet", drop)
    replay = store.replay("d", column_types=[("n", "int64")])
    assert (replay.cut, replay.load, rows(store, "d")) == (1, None, [(1, None)])


def test_names_of_rejects_are_reserved_and_names_too_long_for_them_are_refused(store: Store, visits: str) -> None:
    with pytest.raises(InvalidNameError, match="reserved"):
        store.load("visits__rejects", visits)
    with pytest.raises(InvalidNameError, match="at most 39"):
        store.load("v" * 40, visits, options())
    assert store.load("v" * 39, visits, options()).rejected == 3


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ages=st.lists(st.sampled_from(["1", "22", "2.5", "-7", "1e3", "", "x", "3,"]), min_size=1))
def test_a_replay_gives_the_rows_of_the_mended_file(store: Store, tmp_path: Path, ages: list[str]) -> None:
    name = f"visits_{uuid4().hex[:8]}"
    path = tmp_path / f"{name}.csv"
    path.write_text("age,name\n" + "".join(f"{age},{number}\n" for number, age in enumerate(ages)))
    first = store.load(name, path, options("100%"))
    added = None
    if first.rejects is not None:
        with suppress(BadRowsError):
            added = store.replay(name, column_types=[("age", "float64")]).load
    mended = [age for age in ages if age not in ("x", "3,")]
    path.write_text("age,name\n" + "".join(f"{age},{n}\n" for n, age in enumerate(ages) if age in mended))
    expected = store.load(f"{name}_m", path, LoadOptions(source=SourceOptions(column_types=(("age", "float64"),))))
    assert first.rows + (0 if added is None else added.rows) == expected.rows
    if first.rows or added is not None:
        assert values(store, name) == values(store, f"{name}_m")


def values(store: Store, name: str) -> list[tuple[float | None, int]]:
    table = store.dataset(name).to_table()
    return sorted(((row["age"], row["name"]) for row in table.to_pylist()), key=lambda value: value[1])


def test_of_two_concurrent_replays_with_other_types_the_rejects_of_the_one_that_stays_are_left(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from millrace.load.version_row import VersionRowWriter

    types = SourceOptions(column_types=(("age", "int64"), ("score", "int64")))
    path, more = tmp_path / "visits.csv", tmp_path / "more.csv"
    path.write_text("age,score\n1,1\n2.5,1\nx,1\n4,2.5\n")
    more.write_text("age,score\n7,7\n")
    loaded = replace(options(), source=types)
    store.load("visits", str(path), loaded)
    write, nested = VersionRowWriter.write, []

    def late(steps: VersionRowWriter, plan: Any) -> Any:
        if plan.dataset == "visits" and not nested:
            nested.append(plan)
            store.load("visits", str(more), replace(loaded, mode="append"))
            store.replay("visits@1", column_types=[("age", "float64")])
        return write(steps, plan)

    with monkeypatch.context() as patched:
        patched.setattr(VersionRowWriter, "write", late)
        first = store.replay("visits@1", column_types=[("age", "float64"), ("score", "float64")]).load
    expected = [(1, 1), (2.5, 1), (4, 2.5), (7, 7)]
    assert sorted(rows(store, "visits")) == expected
    assert [row[1] for row in rejected(store, first)] == [4]
    message = store.replay("visits@1").message
    assert message.endswith("for the 1 rows that are left")
    reference = message.partition("; replay ")[2].split()[0]
    with pytest.raises(BadRowsError):
        store.replay(reference, column_types=[("score", "float64")])
    for version in store.versions("visits"):
        if version.settings.get("replays") and version.reference != reference:
            with pytest.raises(UsageError, match="at the same moment as"):
                store.replay(version.reference, column_types=[("score", "float64")])
    assert sorted(rows(store, "visits")) == expected
