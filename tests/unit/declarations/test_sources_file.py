"""The file of declared sources: its path, mistakes of several entries together, and the file of the checkout."""

from __future__ import annotations

from pathlib import Path

import pytest

from local_stack.settings import CHECKOUT
from millrace.declarations import read_sources, sources_path
from millrace.settings import Settings
from tests.unit.declarations.conftest import Read


def errors_of(read: Read, text: str) -> list[str]:
    return [str(error) for error in read(text).errors]


def test_the_sources_of_the_checkout_are_valid() -> None:
    declared = read_sources(CHECKOUT / "conf" / "sources.yaml")
    assert [str(error) for error in declared.errors] == []
    schedules = {name: entry.schedule_in_words() for name, entry in declared.entries.items()}
    assert schedules == {"flights": "at 02:05 (America/New_York)", "weather": "after flights"}


def test_the_setting_names_the_file(tmp_path: Path) -> None:
    settings = Settings(sources={"file": str(tmp_path / "own.yaml")})  # type: ignore[arg-type]
    assert sources_path(settings) == tmp_path / "own.yaml"
    assert sources_path(Settings()) == CHECKOUT / "conf" / "sources.yaml"


def test_a_cycle_is_named_and_breaks_the_entry_that_closes_it(read: Read) -> None:
    text = """
        sources:
          a: {uri: x, after: c}
          b: {uri: x, after: a}
          c: {uri: x, after: [z, b]}
          d: {uri: x, after: c}
        """
    declared = read(text)
    assert [str(error) for error in declared.errors] == [
        "conf/sources.yaml:4: sources.c.after makes a cycle: a → b → c → a: remove one of them"
    ]
    assert list(declared.entries) == ["a", "b", "d"]


def test_a_cycle_goes_through_the_datasets_of_entries(read: Read) -> None:
    text = """
        sources:
          a: {uri: x, dataset: trips, after: planes}
          b: {uri: x, dataset: planes, after: a}
          c:
            uri: x
            dataset: planes
            after: trips
        """
    assert errors_of(read, text) == [
        "conf/sources.yaml:7: sources.c.after makes a cycle: trips → planes → trips: remove one of them"
    ]


def test_a_broken_entry_is_in_no_cycle(read: Read) -> None:
    text = "sources:\n  a: {uri: x, after: b}\n  b: {uri: x, after: a, keep: 0}\n"
    assert errors_of(read, text) == ["conf/sources.yaml:3: sources.b.keep is 0: give a number of at least 1"]


def test_two_entries_of_one_dataset_have_one_contract(read: Read) -> None:
    text = """
        sources:
          a: {uri: x, dataset: trips}
          b: {uri: y, dataset: trips, contract: {columns: evolve}}
          c:
            uri: z
            dataset: trips
            contract: freeze
          trips: {uri: z, contract: {columns: evolve, types: freeze}}
        """
    declared = read(text)
    assert [str(error) for error in declared.errors] == [
        'conf/sources.yaml:7: sources.c.contract is {"columns": "freeze", "types": "freeze"}: entries of one dataset '
        "have one contract; a loads trips, too"
    ]
    assert list(declared.entries) == ["a", "b", "trips"]


def test_the_name_of_the_dag_that_exists_is_reserved(read: Read) -> None:
    assert errors_of(read, "sources: {dataset: {uri: x}}") == [
        "conf/sources.yaml:1: sources.dataset is a reserved name: use another one"
    ]


def test_a_schedule_of_an_entry_replaces_that_of_the_defaults(read: Read) -> None:
    declared = read("defaults: {schedule: 0 1 * * *}\nsources: {a: {uri: x, every: 1h}, b: {uri: x}}")
    assert declared.errors == []
    assert [entry.schedule_in_words() for entry in declared.entries.values()] == ["every hour", "at 01:00 (UTC)"]


@pytest.mark.parametrize("count", [200])
def test_many_entries_that_depend_on_each_other_are_read(read: Read, count: int) -> None:
    names = [f"e{number}" for number in range(count)]
    lines = [f"  {name}: {{uri: x, after: [z, {', '.join(names[:position])}]}}" for position, name in enumerate(names)]
    declared = read("\n".join(["sources:", *lines]))
    assert declared.errors == []
    assert len(declared.entries) == count


DEFAULTS = """
    defaults: {null_values: ["NA"], delimiter: ";", columns: [a], infer_bytes: 1000, owner: team}
    sources:
    """


@pytest.mark.parametrize(
    "entry",
    [
        "{uri: a.parquet}",
        "{uri: ['x/*.parquet', 's3://lake/b.PARQUET']}",
        "{uri: data, format: parquet}",
        "{uri: 'https://a.example/a.parquet?b=c.csv'}",
    ],
)
def test_options_of_the_defaults_that_the_format_does_not_have_do_not_apply(read: Read, entry: str) -> None:
    declared = read(f"{DEFAULTS}      a: {entry}\n")
    assert declared.errors == []
    options = declared.entries["a"].source_options()
    assert (options.null_values, options.delimiter, options.columns, options.infer_bytes) == (None, None, ("a",), 1000)
    assert declared.entries["a"].owner == "team"


@pytest.mark.parametrize(
    "entry", ["{uri: a.csv.gz}", "{uri: data}", "{uri: [a.csv, b.parquet]}", "{uri: data, format: csv}"]
)
def test_all_defaults_apply_to_an_entry_that_may_be_a_csv(read: Read, entry: str) -> None:
    options = read(f"{DEFAULTS}      a: {entry}\n").entries["a"].source_options()
    assert (options.null_values, options.delimiter) == (("NA",), ";")


def test_an_option_of_the_entry_itself_is_kept_for_the_plan_to_refuse(read: Read) -> None:
    options = read(f"{DEFAULTS}      a: {{uri: a.parquet, null_values: x}}\n").entries["a"].source_options()
    assert (options.null_values, options.delimiter) == (("x",), None)


@pytest.mark.parametrize("fields", ["{uri: 7}", "{uri: [7]}", "{uri: a, format: [csv]}", "{uri: a, format: x}", "{}"])
def test_wrong_values_beside_such_defaults_are_errors_of_the_entry(read: Read, fields: str) -> None:
    assert read(f"{DEFAULTS}      a: {fields}\n").entry_errors["a"]
