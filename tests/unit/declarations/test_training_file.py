"""The file of declared training data: its path, names, cycles, and the file of the checkout."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from local_stack.settings import CHECKOUT
from millrace.declarations import find_training, make_training, read_training, training_path
from millrace.errors import DeclarationError, UsageError
from millrace.settings import Settings
from tests.unit.declarations.conftest import ReadTraining

REST = "query: SELECT 1, key: id, target: x, splits: {train: 0.5, test: 0.5}"


def errors_of(read_entries: ReadTraining, text: str) -> list[str]:
    return [str(error).removeprefix("conf/training.yaml:") for error in read_entries(text).errors]


def test_the_training_data_of_the_checkout_is_valid() -> None:
    declared = read_training(CHECKOUT / "conf" / "training.yaml")
    assert [str(error) for error in declared.errors] == []
    entry = declared.entries["late_arrivals"]
    assert entry.schedule_in_words() == "after flights or weather"
    assert entry.trainer == ("examples.late_arrivals", "train")
    assert entry.preparation("late_arrivals").main == "flights"


def test_the_setting_names_the_file(tmp_path: Path) -> None:
    settings = Settings(training={"file": str(tmp_path / "own.yaml")})  # type: ignore[arg-type]
    assert training_path(settings) == tmp_path / "own.yaml"
    assert training_path(Settings()) == CHECKOUT / "conf" / "training.yaml"


def test_names_of_dags_and_of_models_are_reserved(read_entries: ReadTraining) -> None:
    for name, problem in {
        "training_data": "is a reserved name: use another one",
        "model": "is a reserved name: use another one",
        "late_model": "has the reserved ending _model: use another name",
        "late_rejects": "has the reserved ending _rejects: use another name",
        "Late": "is not a name: use a lower-case letter, then up to 38 lower-case letters, digits or underscores",
    }.items():
        text = f"training: {{{name}: {{inputs: {{a: a}}, {REST}}}}}"
        assert errors_of(read_entries, text) == [f"1: training.{name} {problem}"]
    assert errors_of(read_entries, f"training: {{models: {{inputs: {{a: a}}, {REST}}}}}") == []


def test_a_cycle_is_named_and_breaks_the_entry_that_closes_it(read_entries: ReadTraining) -> None:
    text = f"""
        training:
          a: {{inputs: {{x: c@best}}, {REST}}}
          b: {{inputs: {{x: flights, y: a}}, known: {{y: always}}, {REST}}}
          c:
            inputs: {{x: b}}
            {REST.replace(", ", chr(10) + "            ", 3)}
          d: {{inputs: {{x: c}}, {REST}}}
        """
    declared = read_entries(text)
    assert [str(error) for error in declared.errors] == [
        "conf/training.yaml:5: training.c.inputs makes a cycle: a → b → c → a: remove one of them"
    ]
    assert list(declared.entries) == ["a", "b", "d"]


def test_an_entry_has_the_defaults_that_it_does_not_replace(read_entries: ReadTraining, tmp_path: Path) -> None:
    (tmp_path / "conf" / "a.sql").write_text("SELECT 2")
    text = """
        defaults: {query: SELECT 1, key: id, target: x, splits: {train: 0.5, test: 0.5}, keep: 3, seed: 7}
        training:
          a: {inputs: {x: x}}
          b: {inputs: {x: x}, query_file: a.sql, keep: null, seed: 0, splits: {train: 0.9, val: 0.1}}
        """
    declared = read_entries(text)
    assert declared.errors == []
    a, b = (declared.entries[name].preparation(name) for name in ("a", "b"))
    assert (a.query, a.seed, declared.entries["a"].keep) == ("SELECT 1", 7, 3)
    assert (b.query, b.seed, declared.entries["b"].keep) == ("SELECT 2", 0, None)
    assert "val" in b.splits.weights


def test_a_mistake_in_the_defaults_has_its_line(read_entries: ReadTraining) -> None:
    text = f"defaults:\n  keep: 0\ntraining:\n  a: {{inputs: {{x: x}}, {REST}}}\n"
    assert errors_of(read_entries, text) == ["2: defaults.keep is 0: give a number of at least 1"]


def test_an_entry_is_found_by_its_name(read_entries: ReadTraining, tmp_path: Path) -> None:
    text = f"training: {{late: {{inputs: {{a: a}}, {REST}}}, broken: {{inputs: {{a: a}}, {REST}, keep: 0}}}}"
    read_entries(text)
    path = tmp_path / "conf" / "training.yaml"
    settings = Settings(training={"file": str(path)})  # type: ignore[arg-type]
    assert find_training("late", settings) == find_training("late", Settings(), file=path)
    with pytest.raises(UsageError, match=re.escape("no training data 'lat' is declared in conf/training.yaml")) as near:
        find_training("lat", settings)
    assert near.value.hint == "did you mean late?"
    with pytest.raises(UsageError) as other:
        find_training("weather", settings)
    assert other.value.hint == "the file declares late, broken"
    with pytest.raises(DeclarationError, match=r"conf/training.yaml:1: training.broken.keep is 0"):
        find_training("broken", settings)
    with pytest.raises(DeclarationError, match=r"nothing\.yaml cannot be read"):
        find_training("late", settings, file=tmp_path / "nothing.yaml")


FIELDS = {"inputs": {"a": "a"}, "query": "SELECT 1", "key": "id", "target": "x", "splits": {"train": 0.5, "test": 0.5}}


def test_an_entry_of_a_form_is_that_of_the_file(read_entries: ReadTraining, tmp_path: Path) -> None:
    made = make_training("late", {**FIELDS, "at": None}, folder=tmp_path / "conf")
    assert made == read_entries(f"training: {{late: {{inputs: {{a: a}}, {REST}}}}}").entries["late"]
    assert make_training("late", FIELDS).folder == Path.cwd()


@pytest.mark.parametrize(
    ("name", "fields", "error"),
    [
        ("late_model", {}, "late_model has the reserved ending _model: use another name"),
        ("late", {"keep": 0, "qery": 1}, "keep is 0: give a number of at least 1; qery is unknown: did you "
         "mean query?"),
        ("a", {}, "inputs.a names the dataset of the entry itself: remove it"),
        ("late", {"target": "x://u:geheim@b/", "query_file": "a"}, "query_file contradicts query: give one of query, "
         "query_file"),
        ("late", {"query": None, "query_file": "../a.sql"}, "query_file is '../a.sql', which is outside of the folder "
         "of the entry: give a path below it"),
    ],
)  # fmt: skip
def test_the_mistakes_of_a_form_are_one_line(name: str, fields: dict[str, Any], error: str) -> None:
    with pytest.raises(DeclarationError) as refused:
        make_training(name, {**FIELDS, **fields})
    assert str(refused.value) == error


def test_reading_a_file_imports_nothing_heavy() -> None:
    code = (
        "import sys; from pathlib import Path; from millrace.declarations import read_training; "
        f"assert not read_training(Path({str(CHECKOUT / 'conf' / 'training.yaml')!r})).errors; "
        "print({'pyarrow', 'numpy', 'duckdb', 'sqlglot', 'sklearn'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"
