"""``conf/sources.schema.json`` for editors is made from the model, and agrees with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from local_stack.settings import CHECKOUT
from millrace.declarations import SourceEntry, read_sources
from millrace.declarations.schema import COMMAND, FILE, main, rendered
from tests.unit.declarations.conftest import Read

SCHEMA: dict[str, Any] = json.loads(rendered())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def test_the_schema_is_current() -> None:
    assert (CHECKOUT / FILE).read_text() == rendered(), f"run: {COMMAND}"


def test_a_file_that_is_not_current_is_found_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf").mkdir()
    assert main(["--check"]) == 1
    assert capsys.readouterr().err == f"{FILE} is not current; run: {COMMAND}\n"
    assert main([]) == 0
    assert main(["--check"]) == 0


def test_every_field_is_in_the_schema_and_those_of_an_entry_have_a_description() -> None:
    properties = SCHEMA["$defs"]["fields"]["properties"]
    assert set(properties) == set(SourceEntry.model_fields)
    assert all(properties[name]["description"].endswith(".") for name in SourceEntry.__annotations__)


def test_the_file_of_the_checkout_names_the_schema_and_follows_it() -> None:
    text = (CHECKOUT / "conf" / "sources.yaml").read_text()
    assert text.startswith("# yaml-language-server: $schema=sources.schema.json\n")
    VALIDATOR.validate(yaml.safe_load(text))
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize(
    "text",
    [
        "{uri: a, max_bad_rows: 1%, contract: {columns: freeze}, tags: a, rename: {a: b}, header: false}",
        "{uri: [a, b], max_bad_rows: 5, contract: evolve, after: [x], null_values: [NA], codec: zstd, keep: 1}",
    ],
)
def test_both_accept_an_entry(read: Read, text: str) -> None:
    assert read(f"sources: {{flights: {text}}}").errors == []
    VALIDATOR.validate(yaml.safe_load(f"sources: {{flights: {text}}}"))


@pytest.mark.parametrize(
    "text",
    [
        "sources: {flights: {owner: a}}",
        "sources: {flights: {uri: a, keep: 0}}",
        "sources: {flights: {uri: a, shedule: x}}",
        "sources: {flights: {uri: a, contract: frieze}}",
        "sources: {flights: {uri: a, max_bad_rows: many}}",
        "sources: {flights: {uri: a, codec: lz4}}",
        "sources: {flights: {uri: a, mode: upsert}}",
        "sources: {dataset: {uri: a}}",
        "sources: {Flights: {uri: a}}",
        "source: {}",
    ],
)
def test_both_refuse_an_entry(read: Read, text: str) -> None:
    assert read(text).errors
    assert not VALIDATOR.is_valid(yaml.safe_load(text))


def test_an_entry_of_the_checkout_is_dumped_as_json() -> None:
    entry = read_sources(CHECKOUT / "conf" / "sources.yaml").entries["flights"]
    assert json.loads(entry.model_dump_json(exclude_unset=True))["null_values"] == ["NA"]
