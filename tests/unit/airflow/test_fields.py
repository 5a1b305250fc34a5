"""The conf of a run may hold only fields of the form, and messages in Airflow use the titles of these fields."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from millrace.airflow.fields import field_titles, refuse_unknown_keys
from millrace.airflow.form import load_form
from millrace.cli.commands.load import command
from millrace.declarations import field_words, in_field_words, warning_in_field_words
from millrace.errors import SourceTypeError, UsageError
from millrace.sources import SourceWarning

TITLES = {name: str(field.schema["title"]) for name, field in load_form().items()}
NO_FIELDS = {"--run-id", "--resume", "--dry-run", "--strict", "--json"}
"""Options that a DAG run provides in another way or does not support."""


@pytest.mark.parametrize(
    ("conf", "hint"),
    [
        ({"sorce": "a.csv"}, "the run's conf has the unknown key 'sorce': did you mean 'source'?"),
        ({"dataset": "a", "Column_Types": []}, "unknown key 'Column_Types': did you mean 'column_types'?"),
        ({"zzz": 1}, "unknown key 'zzz': known keys are dataset, source, connection, mode, "),
    ],
)
def test_an_unknown_key_of_a_conf_is_refused_with_the_nearest_known_one(conf: dict[str, Any], hint: str) -> None:
    with pytest.raises(UsageError) as refused:
        refuse_unknown_keys(conf, TITLES)
    assert hint in str(refused.value)


@pytest.mark.parametrize("conf", [None, {}, {"dataset": "a", "source": "b", "max_splits": 3}])
def test_a_conf_of_known_keys_is_accepted(conf: dict[str, Any] | None) -> None:
    refuse_unknown_keys(conf, TITLES)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("give its type: --column-type a=string", 'give its type: "Column types" a=string'),
        ("its type: --column-type 'a b=string'; more", 'its type: "Column types" a b=string; more'),
        ("its type: --column-type 'it'\"'\"'s=string'", 'its type: "Column types" it\'s=string'),
        ("leave out --column-type and --schema", 'leave out "Column types" and "Schema file"'),
        ("rename one, or give --no-header if the first line is data", 'rename one, or give "Header" off if the first'),
        ("give --max-unit-bytes 123 if that is right", 'give "Largest unit" 123 if that is right'),
        ("store it with --format bytes", 'store it with "Format" bytes'),
        ("see millrace verify --format x; give --format csv", 'see millrace verify --format x; give "Format" csv'),
        ("leave --resume out", "leave --resume out"),
        (
            "millrace undelete d@1; or load it again as another run (--run-id)",
            "millrace undelete d@1; or trigger a new",
        ),
        ("load it as another run", "trigger a new run"),
        ("give-it --formats, ---format", "give-it --formats, ---format"),
    ],
)
def test_an_option_of_the_command_line_is_replaced_by_its_field_title(text: str, expected: str) -> None:
    assert field_words(text, TITLES).startswith(expected)


def test_column_names_that_look_like_options_are_not_replaced() -> None:
    hint = "give its type: --column-type --format=string"
    assert field_words(hint, TITLES, ["--format", None, 7]) == 'give its type: "Column types" --format=string'


def test_a_warning_uses_field_titles_and_keeps_values_and_column_names() -> None:
    message = "column a --format is text because of '--schema it''s' in its file's line 3; --column-type a --format=T"
    warning = SourceWarning("text", message, column="a --format", line=3)
    assert warning_in_field_words(warning, TITLES) == SourceWarning(
        "text",
        "column a --format is text because of '--schema it''s' in its file's line 3; \"Column types\" a --format=T",
        column="a --format",
        line=3,
    )


def test_an_error_and_its_causes_are_rewritten_with_field_titles() -> None:
    error = SourceTypeError(
        "--rename names 'a --columns', which --columns leaves out",
        hint="give --column-type x--format=T",
        column="x--format",
    )
    error.__cause__ = UsageError("one --format", hint="give --format csv")
    with pytest.raises(SourceTypeError) as caught, in_field_words(TITLES):
        raise error
    assert str(caught.value) == (
        """"New names" names 'a --columns', which "Columns to load" leaves out: give "Column types" x--format=T"""
    )
    assert str(caught.value.__cause__) == 'one "Format": give "Format" csv'


def test_every_load_option_is_a_field_of_the_form() -> None:
    options = {name for parameter in command.params for name in parameter.opts if name.startswith("--")}
    assert options > NO_FIELDS
    assert {name for name in options if field_words(name, TITLES) == name} == NO_FIELDS


def test_the_fields_of_a_declared_source_have_their_own_names() -> None:
    titles = field_titles({"dag": SimpleNamespace(params={})})
    assert field_words("give its type: --column-type v=string", titles) == 'give its type: "column_types" v=string'
    assert field_words("give --max-bad-rows more", titles) == 'give "max_bad_rows" more'
    with pytest.raises(UsageError, match="the run's conf has the unknown key 'column_types': this DAG has no keys"):
        refuse_unknown_keys({"column_types": []}, [])
