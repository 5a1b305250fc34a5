"""The forms that prepare training data and train a model by hand. Building them opens no connection."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from airflow.sdk import Param

from millrace.airflow.form import form_settings
from millrace.airflow.prepare import Choice
from millrace.airflow.source_fields import ONE_ON_EACH_LINE
from millrace.airflow.train import Training
from millrace.declarations import read_training, training_path
from millrace.errors import UsageError
from millrace.names import check_dataset_name

SEED_MAX: Final = 2**63 - 1
COLUMNS: Final = ("key", "after", "categories", "features")
TEXTS: Final = ("query", "target", "at")
PAIRS: Final = ("inputs", "known", "nulls")
OWN: Final = ("query", "inputs", "key", "target", "at", "known", "after", "features", "categories", "nulls", "split_by")
"""The fields of own SQL that are empty unless a user fills them."""
_SPLITS: Final = ("train=0.7", "val=0.15", "test=0.15")
_OWN_SECTION: Final = "Own SQL"


@dataclass(frozen=True, slots=True)
class FormPreparation:
    """The preparation of a submitted form."""

    params: Mapping[str, Any]

    @property
    def dataset(self) -> str:
        """The name of the training dataset."""
        return str(self.params["name"] or self.params["entry"] or "").strip()

    @property
    def warm(self) -> bool:
        """Whether the new version is put into Redis."""
        return bool(self.params["warm"])

    @property
    def waits_for_inputs(self) -> bool:
        """False: an input that does not exist is a mistake in the form."""
        return False

    def choice(self) -> Choice:
        """Return the entry or the fields of own SQL. Raises ``UsageError`` for a form that has both or neither."""
        entry, params = self.params["entry"], self.params
        given = [_title(name) for name in OWN if params[name]]
        if not entry and not given:
            raise UsageError("the form names no entry and has no SQL", hint="fill the field Entry, or those of Own SQL")
        if entry and given:
            raise UsageError(f"the form has an entry and own SQL ({', '.join(given)})", hint="empty one of them")
        check_dataset_name(self.dataset)
        if entry and self.dataset != entry:
            raise UsageError(
                f"the entry {entry} is prepared as the dataset {entry}, not as {self.dataset}",
                hint="empty the field Name",
            )
        return Choice(
            entry=None if entry else own_fields(params),
            versions=_pairs("versions", params["versions"]),
            seed=params["seed"],
            force=bool(params["force"]),
        )


def form_training(params: Mapping[str, Any]) -> Training:
    """Return the training of a submitted form. The function is that of the entry, never one of the form."""
    return Training(str(params["entry"]), params["version"] or "", params["seed"] or 0)


def own_fields(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of an entry of the training file that a form with own SQL describes."""
    fields: dict[str, Any] = {name: params[name].strip() for name in TEXTS if params[name]}
    fields |= {name: _lines(params[name]) for name in COLUMNS if params[name]}
    fields |= {name: _pairs(name, params[name]) for name in PAIRS if params[name]}
    if "nulls" in fields:
        fields["nulls"] = {column: _value(rule) for column, rule in fields["nulls"].items()}
    return {**fields, "splits": _splits(params)}


def _splits(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return weights, or cut-off times if one of the values is a condition."""
    pairs = _pairs("splits", params["splits"])
    by = {"by": _lines(params["split_by"])} if params["split_by"] else {}
    if any(value.startswith("<") or value == "rest" for value in pairs.values()):
        return {**by, "at": pairs}
    return {**by, **{name: _value(weight) for name, weight in pairs.items()}}


def _lines(given: Iterable[str] | None) -> list[str]:
    return [line.strip() for line in given or () if line.strip()]


def _pairs(name: str, given: Iterable[str] | None) -> dict[str, str]:
    """Return the lines ``LEFT=RIGHT`` of a field as a map in their order."""
    pairs: dict[str, str] = {}
    for line in _lines(given):
        left, separator, right = (part.strip() for part in line.partition("="))
        if not (left and separator and right):
            raise UsageError(f"the field {_title(name)} has the line {line!r}", hint=f"write {_EXAMPLES[name]}")
        if left in pairs:
            raise UsageError(f"the field {_title(name)} has two lines for {left!r}", hint="remove one of them")
        pairs[left] = right
    return pairs


_EXAMPLES: Final = {
    "inputs": "ALIAS=DATASET, as in flights=flights or planes=planes@12",
    "known": "ALIAS=COLUMN, as in weather=weather_known_at, or ALIAS=always",
    "nulls": "COLUMN=RULE, as in temp=mean",
    "splits": "NAME=WEIGHT, as in train=0.7, or NAME=CONDITION, as in train=< 2013-09-01",
    "versions": "ALIAS=VERSION, as in flights=12",
}


def _value(text: str) -> Any:
    """Return a number, true or false; another text stays text."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, int | float) else text


def prepare_form() -> dict[str, Param]:
    """Return the fields of the form, the most needed first. Airflow shows fields without a section expanded."""
    return {
        "entry": _entry("Prepare this entry of the file of declared training data. Empty: prepare own SQL."),
        "name": _text("Name", "Name of the training dataset that own SQL makes. Empty for an entry."),
        "versions": _lines_field(
            "Versions of inputs",
            "ALIAS=VERSION for inputs of which another version than the declared one is used, as in flights=12.",
        ),
        "seed": _seed("Replaces the seed of the entry. Empty: that of the entry, and 0 for own SQL."),
        "warm": Param(
            True,
            type="boolean",
            title="Warm the cache",
            description="Put the new version into Redis when it is prepared, or the first chunks that fit.",
        ),
        "force": Param(
            False,
            type="boolean",
            title="Prepare again",
            description="Make a version also from unchanged inputs and an unchanged declaration.",
        ),
        **_sql_fields(),
        **_row_fields(),
    }


def _sql_fields() -> dict[str, Param]:
    return {
        "query": _text(
            "Query", "One SELECT statement in the SQL of DuckDB over the inputs.", _OWN_SECTION, format="multiline"
        ),
        "inputs": _lines_field(
            "Inputs",
            "ALIAS=DATASET or ALIAS=DATASET@VERSION for each table of the query; the first is the main input.",
            _OWN_SECTION,
        ),
        "key": _lines_field(
            "Key", "The columns that identify a row of the main input and of the result.", _OWN_SECTION
        ),
        "target": _text(
            "Target", "The value to predict: an expression over the main input, as in arr_delay > 15.", _OWN_SECTION
        ),
        "at": _text(
            "Moment of prediction",
            "An expression over the main input, as in time_hour - INTERVAL 2 HOUR.",
            _OWN_SECTION,
        ),
        "known": _lines_field(
            "Known at",
            "ALIAS=COLUMN for each input but the first: the column of the result with the time at which its row was "
            "known, or always.",
            _OWN_SECTION,
        ),
        "after": _lines_field(
            "Known only after",
            "Columns of the main input that are known only after the moment of prediction.",
            _OWN_SECTION,
        ),
    }


def _row_fields() -> dict[str, Param]:
    section = "Rows of own SQL"
    return {
        "categories": _lines_field("Categories", "Columns of the result whose values are stored as codes.", section),
        "features": _lines_field(
            "Features", "Columns of the result. Empty: every other column of numbers, and the categories.", section
        ),
        "nulls": _lines_field(
            "Rules for nulls",
            "COLUMN=RULE with the rule mean, drop, indicator or a constant, as in temp=mean.",
            section,
        ),
        "splits": _lines_field(
            "Splits",
            "NAME=WEIGHT with weights that sum to 1, or NAME=CONDITION for cut-off times, as in train=< 2013-09-01 and "
            "test=rest.",
            section,
            default=list(_SPLITS),
        ),
        "split_by": _lines_field(
            "Split by", "Columns of the result whose rows stay in one split. Empty: the key.", section
        ),
    }


def train_form() -> dict[str, Param]:
    """Return the fields of the form that trains a model."""
    return {
        "entry": _entry("Train by the function of this entry of the file of declared training data.", required=True),
        "version": _text(
            "Version", "The version or tag of the training dataset to train on, as in 12. Empty: the latest."
        ),
        "seed": _seed("The seed of the training. Empty: 0."),
    }


def _entry(description: str, *, required: bool = False) -> Param:
    options: dict[str, Any] = {"title": "Entry", "description": description, "examples": _declared_names()}
    if required:
        return Param(type="string", minLength=1, **options)
    return Param(None, type=["null", "string"], minLength=1, **options)


def _declared_names() -> list[str]:
    """Return the names of the entries that a form proposes; none while the file cannot be read."""
    path = training_path(form_settings())
    return list(read_training(path).entries) if path.exists() else []


def _text(title: str, description: str, section: str | None = None, **options: Any) -> Param:
    options |= {"section": section} if section else {}
    return Param(None, type=["null", "string"], minLength=1, title=title, description=description, **options)


def _lines_field(
    title: str, description: str, section: str | None = None, *, default: list[str] | None = None
) -> Param:
    options: dict[str, Any] = {"title": title, "description": ONE_ON_EACH_LINE + description}
    options |= {"section": section} if section else {}
    return Param(default, type=["null", "array"], items={"type": "string"}, **options)


def _seed(description: str) -> Param:
    return Param(None, type=["null", "integer"], minimum=0, maximum=SEED_MAX, title="Seed", description=description)


def _title(name: str) -> str:
    return str(prepare_form()[name].schema["title"])
