"""Files of named entries: defaults, errors of one entry, and errors of the file."""

from __future__ import annotations

import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, StrictInt

from millrace.declarations import CrossFault, Declarations, Problem, Section, read_declarations


class Job(BaseModel):
    """An entry that is not a source."""

    model_config = ConfigDict(extra="forbid")
    epochs: StrictInt = Field(ge=1)
    label: str = ""
    daily: bool | None = None
    weekly: bool | None = None


TRAINING = Section("training", Job, frozenset({"model"}), frozenset({"daily", "weekly"}))
Read = Callable[..., Declarations[Job]]


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Read:
    monkeypatch.chdir(tmp_path)

    def read_text(text: str, section: Section[Job] = TRAINING) -> Declarations[Job]:
        (tmp_path / "training.yaml").write_text(text)
        return read_declarations(tmp_path / "training.yaml", section)

    return read_text


def test_an_entry_has_the_defaults_that_it_does_not_replace(read: Read) -> None:
    jobs = read("defaults: {epochs: 3, label: x}\ntraining:\n  a: {epochs: 5}\n  b:\n  c: {label: null}\n")
    assert jobs.errors == []
    assert jobs.names == ["a", "b", "c"]
    assert jobs.entries == {"a": Job(epochs=5, label="x"), "b": Job(epochs=3, label="x"), "c": Job(epochs=3)}


def test_one_of_several_alternatives_replaces_the_default_of_another(read: Read) -> None:
    jobs = read("defaults: {daily: true, epochs: 1}\ntraining:\n  a: {weekly: true}\n  b: {}\n")
    assert (jobs.entries["a"].daily, jobs.entries["a"].weekly) == (None, True)
    assert (jobs.entries["b"].daily, jobs.entries["b"].weekly) == (True, None)


@pytest.mark.parametrize("text", ["", "training:\n", "defaults:\ntraining: {}\n", "defaults: {unknown: 1}\n"])
def test_a_file_without_entries_has_neither_entries_nor_errors(read: Read, text: str) -> None:
    jobs = read(text)
    assert (jobs.names, jobs.entries, jobs.errors) == ([], {}, [])


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("training: [\n", "training.yaml:2: this is not YAML: did not find expected node content"),
        ("- a\n", 'training.yaml:1: the document is ["a"]: give defaults and training'),
        ("training: {a: {epochs: 1}}\ndefault: {}\n", "training.yaml:2: default is unknown: did you mean defaults?"),
        ("training: 5\n", "training.yaml:1: training is 5: give a map"),
        ("defaults: []\n", "training.yaml:1: defaults is []: give a map"),
        ("training: {}\ntraining: {}\n", "training.yaml:2: training is given twice: line 1 has it, too"),
        (
            "defaults: {epochs: 1, epochs: 2}\ntraining: {a: {}}\n",
            "training.yaml:1: defaults.epochs is given twice: line 1 has it, too",
        ),
    ],
)
def test_an_error_outside_the_entries_leaves_no_entry(read: Read, text: str, error: str) -> None:
    jobs = read(text)
    assert [str(each) for each in jobs.errors] == [str(each) for each in jobs.file_errors] == [error]
    assert jobs.entries == {}
    assert jobs.entry_errors == {}


@pytest.mark.parametrize(
    ("entry", "error"),
    [
        ("a: {epochs: 0}", "training.a.epochs is 0: give a number of at least 1"),
        ("a: {epochs: true}", "training.a.epochs is true: give a whole number"),
        ("a: {}", "training.a.epochs is missing: give epochs"),
        ("a: {epochs: 1, lable: x}", "training.a.lable is unknown: did you mean label?"),
        ("a: {epochs: 1, zzz: x}", "training.a.zzz is unknown: use one of epochs, label, daily, weekly"),
        ("a: {epochs: 1, epochs: 2}", "training.a.epochs is given twice: line 3 has it, too"),
        ("a: {epochs: 1, label: !x y}", "training.a.label has the unknown tag !x: remove it"),
        ("a: !x {epochs: 1}", "training.a has the unknown tag !x: remove it"),
        ("a: {<<: 5, epochs: 1}", "training.a has a merge key << whose value is not a map: give one map"),
        ("a: {1: 5, epochs: 1}", "training.a has a key that is not a text: put the key in quotes"),
        ("a: 5", "training.a is 5: give a map of fields"),
        ("model: {epochs: 1}", "training.model is a reserved name: use another one"),
        (
            "Ab: {epochs: 1}",
            "training.Ab is not a name: use a lower-case letter, then up to 38 lower-case letters, digits or "
            "underscores",
        ),
        (
            f"{'a' * 40}: {{epochs: 1}}",
            f"training.{'a' * 40} is not a name: use a lower-case letter, then up to 38 lower-case letters, digits or "
            "underscores",
        ),
    ],
)
def test_a_broken_entry_has_an_error_with_its_line_and_its_neighbours_are_usable(
    read: Read, entry: str, error: str
) -> None:
    jobs = read(f"training:\n  first: {{epochs: 1}}\n  {entry}\n  last: {{epochs: 2}}\n")
    assert [str(each) for each in jobs.errors] == [f"training.yaml:3: {error}"]
    assert jobs.entries == {"first": Job(epochs=1), "last": Job(epochs=2)}
    [context] = [each.context for each in jobs.errors]
    assert (context["file"], context["line"]) == ("training.yaml", 3)
    assert error.startswith(context["field"])


def test_a_name_of_39_characters_is_allowed(read: Read) -> None:
    assert list(read(f"training: {{{'a' * 39}: {{epochs: 1}}}}").entries) == ["a" * 39]


def test_an_entry_that_is_given_twice_is_broken(read: Read) -> None:
    jobs = read("training:\n  a: {epochs: 1}\n  a: {epochs: 2}\n  b: {epochs: 3}\n")
    assert [str(each) for each in jobs.errors] == ["training.yaml:3: training.a is given twice: line 2 has it, too"]
    assert list(jobs.entries) == ["b"]


def test_an_error_in_the_defaults_breaks_the_entries_that_use_them_and_is_listed_once(read: Read) -> None:
    jobs = read("defaults:\n  epochs: 0\ntraining:\n  a: {}\n  b: {epochs: 1}\n  c: {}\n")
    assert [str(each) for each in jobs.errors] == ["training.yaml:2: defaults.epochs is 0: give a number of at least 1"]
    assert (list(jobs.entry_errors), list(jobs.entries)) == (["a", "c"], ["b"])


def test_all_errors_of_a_file_are_listed_in_the_order_of_their_lines(read: Read) -> None:
    jobs = read("training:\n  a:\n    label: 5\n    epochs: x\n  b: {epoch: 1}\n")
    assert [error.context["line"] for error in jobs.errors] == [3, 4, 5, 5]


def test_a_mistake_of_several_entries_together_breaks_the_entry_that_is_named(read: Read) -> None:
    def check(entries: Any) -> list[CrossFault]:
        return [CrossFault("b", "label", Problem("repeats a", "give another one"))] if len(entries) == 2 else []

    section = Section("training", Job, check=check)
    jobs = read("training:\n  a: {epochs: 1, label: x}\n  b:\n    epochs: 1\n    label: x\n", section)
    assert [str(each) for each in jobs.errors] == ["training.yaml:5: training.b.label repeats a: give another one"]
    assert list(jobs.entries) == ["a"]


def test_a_file_outside_of_the_working_directory_is_named_by_its_whole_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert read_declarations(tmp_path / "a.yaml", TRAINING).errors[0].context["file"] == str(tmp_path / "a.yaml")


VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-2, 5)
    | st.text(string.ascii_letters, max_size=3)
    | st.lists(st.integers(0, 2), max_size=2)
)
FIELDS = st.dictionaries(st.sampled_from(["epochs", "label", "daily", "weekly", "other"]), VALUES, max_size=4)


@settings(max_examples=60, deadline=None)
@given(
    defaults=FIELDS, entries=st.dictionaries(st.sampled_from(list("abcde")), VALUES | FIELDS, min_size=1, max_size=4)
)
def test_no_entry_changes_what_the_defaults_make_of_its_neighbours(
    tmp_path_factory: pytest.TempPathFactory, defaults: dict[str, Any], entries: dict[str, Any]
) -> None:
    path = tmp_path_factory.getbasetemp() / "property.yaml"

    def read_file(given_entries: dict[str, Any]) -> Declarations[Job]:
        path.write_text(yaml.safe_dump({"defaults": defaults, "training": given_entries}, sort_keys=False))
        return read_declarations(path, TRAINING)

    together = read_file(entries)
    for name, fields in entries.items():
        alone = read_file({name: fields})
        assert together.entries.get(name) == alone.entries.get(name)
        problems = [
            [(error.context["field"], error.message.split(": ", 1)[1]) for error in each.entry_errors.get(name, [])]
            for each in (together, alone)
        ]
        assert problems[0] == problems[1]
        assert (name in together.entries) is not (name in together.entry_errors)
