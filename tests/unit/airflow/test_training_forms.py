"""The forms that prepare training data and train a model: their fields, and the request of a submitted form."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from airflow.sdk.definitions._internal.types import is_arg_set
from airflow.sdk.exceptions import ParamValidationError

from local_stack.settings import CHECKOUT
from millrace.airflow.train import Training
from millrace.airflow.training_forms import FormPreparation, form_training, own_fields, prepare_form, train_form
from millrace.api import Store
from millrace.declarations import TrainingEntry
from millrace.errors import InvalidNameError, UsageError
from tests.unit.store.in_memory import cassandra, settings, store

__all__ = ["cassandra", "settings", "store"]

FORMS = {"prepare_training_data": prepare_form, "train_model": train_form}
OWN: dict[str, Any] = {
    "name": "mine",
    "query": "SELECT f.id, w.temp, w.seen FROM f ASOF LEFT JOIN w ON w.seen <= f.start",
    "inputs": ["f=flights", "w = weather@12"],
    "key": ["id"],
    "target": "delay > 15",
    "at": "start",
    "known": ["w=seen"],
    "after": ["delay"],
    "nulls": ["temp=mean", "wind=-1.5", "rain=false"],
}


HOSTILE_QUERIES = [
    "SELECT * FROM 'x.csv'",
    "SELECT * FROM 'https://host/x.parquet'",
    "SELECT * FROM read_csv('x.csv')",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT (SELECT content FROM read_blob('x'))",
    "SELECT * FROM glob('/tmp/*')",
    "WITH a AS (FROM 'x.csv') SELECT * FROM a",
    "ATTACH 'x.db' AS x",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET memory_limit = '1TB'",
    "PRAGMA threads = 64",
    "COPY f TO 'x.csv'",
    "EXPORT DATABASE 'x'",
    "SELECT 1; SELECT 2",
    "SELECT 1 -- the end\n; DROP TABLE f",
    "SELECT * FROM weather",
    "SELECT * FROM information_schema.tables",
    "SELECT * FROM duckdb_settings()",
    "SELECT getenv('HOME')",
    "SELECT random() FROM f",
    "SELECT * FROM millrace_inputs.f",
]


@pytest.fixture
def declared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "training.yaml"
    monkeypatch.setenv("MILLRACE_TRAINING__FILE", str(path))
    return path


def submitted(**given: Any) -> dict[str, Any]:
    """Return the params of a submitted form, with the defaults of all other fields."""
    fields = prepare_form()
    assert set(given) <= set(fields)
    return {name: given.get(name, field.value) for name, field in fields.items()}


@pytest.mark.parametrize("form", FORMS.values(), ids=list(FORMS))
def test_every_field_has_a_title_a_description_and_a_default_that_it_accepts(form: Any) -> None:
    for name, field in form().items():
        assert field.schema["title"], name
        assert len(field.description or "") > 10, name
        if is_arg_set(field.value):
            field.resolve()


def test_the_names_of_usable_entries_are_proposed(declared: Path) -> None:
    assert prepare_form()["entry"].schema["examples"] == []
    entry = {"inputs": {"f": "flights"}, "query": "SELECT id FROM f", "key": "id", "target": "late"}
    entries = {"one": {**entry, "splits": {"train": 0.5, "val": 0.5}}, "broken": entry}
    declared.write_text(json.dumps({"training": entries}))
    for form in FORMS.values():
        assert form()["entry"].schema["examples"] == ["one"]
    declared.write_text("training: [")
    assert prepare_form()["entry"].schema["examples"] == []


def test_no_field_takes_a_training_function_or_a_file() -> None:
    for form in FORMS.values():
        assert not {"train", "function", "query_file", "file", "folder"} & set(form())


def test_own_sql_has_the_fields_of_an_entry() -> None:
    request = FormPreparation(submitted(**OWN, categories=["carrier", " "], split_by=["day"], seed=7, warm=False))
    choice = request.choice()
    assert (request.dataset, request.warm, request.waits_for_inputs) == ("mine", False, False)
    assert choice.entry == {
        "query": OWN["query"],
        "inputs": {"f": "flights", "w": "weather@12"},
        "key": ["id"],
        "target": "delay > 15",
        "at": "start",
        "known": {"w": "seen"},
        "after": ["delay"],
        "categories": ["carrier"],
        "nulls": {"temp": "mean", "wind": -1.5, "rain": False},
        "splits": {"by": ["day"], "train": 0.7, "val": 0.15, "test": 0.15},
    }
    assert (choice.versions, choice.seed, choice.force) == ({}, 7, False)
    assert isinstance(choice.entry, dict)
    entry = TrainingEntry.model_validate(choice.entry, context={"name": "mine"})
    assert entry.preparation("mine").main == "f"


def test_cut_off_times_are_conditions() -> None:
    given = own_fields(submitted(**OWN, splits=["train=< 2013-09-01", "val=<= 2013-11-01", "test=rest"]))
    assert given["splits"] == {"at": {"train": "< 2013-09-01", "val": "<= 2013-11-01", "test": "rest"}}


def test_an_entry_is_prepared_as_it_is_declared() -> None:
    request = FormPreparation(submitted(entry="late_arrivals", versions=["flights=12"], force=True))
    choice = request.choice()
    assert request.dataset == "late_arrivals"
    assert (choice.entry, choice.versions, choice.seed, choice.force) == (None, {"flights": "12"}, None, True)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "the form names no entry and has no SQL"),
        ({"name": "mine"}, "the form names no entry and has no SQL"),
        ({**OWN, "entry": "late_arrivals"}, r"an entry and own SQL \(Query, Inputs, Key, Target"),
        ({"entry": "late_arrivals", "name": "mine"}, "is prepared as the dataset late_arrivals, not as mine"),
        ({**OWN, "inputs": ["flights"]}, "the field Inputs has the line 'flights': write ALIAS=DATASET"),
        ({**OWN, "inputs": ["f=a", "f=b"]}, "the field Inputs has two lines for 'f'"),
        ({**OWN, "splits": ["train"]}, "the field Splits has the line 'train': write NAME=WEIGHT"),
        ({**OWN, "versions": ["=3"]}, "the field Versions of inputs has the line '=3'"),
    ],
)
def test_a_wrong_form_is_refused_in_one_line_that_names_the_field(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as refused:
        FormPreparation(submitted(**given)).choice()
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", [None, "Mine", "a b"])
def test_own_sql_needs_the_name_of_a_dataset(name: str | None) -> None:
    with pytest.raises(InvalidNameError):
        FormPreparation(submitted(**{**OWN, "name": name})).choice()


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("entry", [None, "a"], ["", 1]),
        ("query", [None, "SELECT 1"], ["", 1]),
        ("inputs", [None, [], ["a=b"]], ["a=b", [1]]),
        ("seed", [None, 0, 2**63 - 1], [-1, 2**63, "x"]),
        ("warm", [True, False], ["yes", None]),
    ],
)
def test_values_out_of_range_are_refused_before_the_run_begins(name: str, good: list[Any], bad: list[Any]) -> None:
    for value in good:
        prepare_form()[name].resolve(value)
    for value in bad:
        with pytest.raises(ParamValidationError):
            prepare_form()[name].resolve(value)


def test_a_training_is_that_of_an_entry_a_version_and_a_seed() -> None:
    assert form_training({"entry": "a", "version": None, "seed": None}) == Training("a", "", 0)
    assert form_training({"entry": "a", "version": "best", "seed": 3}) == Training("a", "best", 3)


@pytest.mark.parametrize("dag_id", FORMS)
def test_the_documented_fields_are_those_of_the_form(dag_id: str) -> None:
    page = (CHECKOUT / "docs" / "airflow.md").read_text()
    rows = [
        f"| `{key}` | {field.schema['title']} | {json.dumps(field.value) if is_arg_set(field.value) else 'required'} |"
        for key, field in FORMS[dag_id]().items()
    ]
    (table,) = re.findall(rf"The fields of `{dag_id}`:\n\n((?:\|.*\n)+)", page)
    assert re.findall(r"^\| `.*", table, re.MULTILINE) == rows, "\n".join(rows)


@pytest.mark.parametrize("query", HOSTILE_QUERIES)
def test_a_hostile_query_of_the_form_is_refused_in_one_line_before_anything_runs(store: Store, query: str) -> None:
    store.load("flights", pa.table({"id": [1, 2], "delay": [3, 30], "start": [1, 2]}))
    store.load("weather", pa.table({"id": [1, 2]}))
    form = submitted(name="mine", query=query, inputs=["f=flights"], key=["id"], target="delay > 15")
    request = FormPreparation(form)
    with pytest.raises(UsageError) as refused:
        store.plan_preparation(request.dataset, entry=request.choice().entry)
    assert "the query of mine" in str(refused.value)
    assert "\n" not in str(refused.value)
