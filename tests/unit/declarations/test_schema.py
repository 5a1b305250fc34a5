"""The JSON Schemas of the declared files for editors are made from the models, and agree with them."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from local_stack.settings import CHECKOUT
from millrace.declarations import read_sources, read_training
from millrace.declarations.schema import COMMAND, FILES, main, rendered
from millrace.declarations.sources_file import SOURCES
from millrace.declarations.training_file import TRAINING
from tests.unit.declarations.conftest import Read, ReadTraining

SOURCES_VALIDATOR = jsonschema.Draft202012Validator(json.loads(rendered(SOURCES)))
TRAINING_VALIDATOR = jsonschema.Draft202012Validator(json.loads(rendered(TRAINING)))
each_file = pytest.mark.parametrize("file", list(FILES), ids=lambda file: FILES[file].key)


@each_file
def test_the_schema_is_current(file: Path) -> None:
    assert (CHECKOUT / file).read_text() == rendered(FILES[file]), f"run: {COMMAND}"


def test_files_that_are_not_current_are_found_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf").mkdir()
    _, second = FILES
    assert main(["--check"]) == 1
    assert capsys.readouterr().err == "".join(f"{file} is not current; run: {COMMAND}\n" for file in FILES)
    assert main([]) == 0
    assert main(["--check"]) == 0
    second.unlink()
    assert main(["--check"]) == 1
    assert capsys.readouterr().err == f"{second} is not current; run: {COMMAND}\n"


@each_file
def test_every_field_is_in_the_schema_and_those_of_an_entry_have_a_description(file: Path) -> None:
    model = FILES[file].model
    properties = json.loads(rendered(FILES[file]))["$defs"]["fields"]["properties"]
    assert set(properties) == set(model.model_fields)
    own = model.__annotations__.keys() & properties.keys()
    assert len(own) > 15
    assert all(properties[name]["description"].endswith(".") for name in own)


@each_file
def test_the_file_of_the_checkout_names_the_schema_and_follows_it(file: Path) -> None:
    text = (CHECKOUT / "conf" / f"{FILES[file].key}.yaml").read_text()
    schema = json.loads(rendered(FILES[file]))
    assert text.startswith(f"# yaml-language-server: $schema={file.name}\n")
    jsonschema.Draft202012Validator(schema).validate(yaml.safe_load(text))
    jsonschema.Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize(
    "text",
    [
        "{uri: a, max_bad_rows: 1%, contract: {columns: freeze}, tags: a, rename: {a: b}, header: false}",
        "{uri: [a, b], max_bad_rows: 5, contract: evolve, after: [x], null_values: [NA], codec: zstd, keep: 1}",
    ],
)
def test_both_accept_an_entry(read: Read, text: str) -> None:
    assert read(f"sources: {{flights: {text}}}").errors == []
    SOURCES_VALIDATOR.validate(yaml.safe_load(f"sources: {{flights: {text}}}"))


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
    assert not SOURCES_VALIDATOR.is_valid(yaml.safe_load(text))


LEAST = "inputs: {a: a}, query: SELECT 1, key: id, target: x"
HALVES = "splits: {train: 0.5, test: 0.5}"


@pytest.mark.parametrize(
    "fields",
    [
        "splits: {by: [a, b], train: 0.5, test: 0.5}, nulls: {a: mean, b: 0, c: false, d: 1.5}, schedule: all",
        "splits: {at: {train: '< 2013-09-01 10:00Z', test: rest}}, at: hour, tags: a, after: [b], features: [c]",
        "splits: {by: a, train: 0.5, test: 0.5}, expect: {rows_min: 5, target_share: [0, 1]}, train: a.b:c, seed: 5",
    ],
)
def test_both_accept_an_entry_of_training_data(read_entries: ReadTraining, fields: str) -> None:
    text = f"training: {{late: {{{LEAST}, {fields}}}}}"
    assert read_entries(text).errors == []
    TRAINING_VALIDATOR.validate(yaml.safe_load(text))


@pytest.mark.parametrize(
    "text",
    [
        f"training: {{late: {{{LEAST}}}}}",
        *(
            f"training: {{late: {{{LEAST}, {fields}}}}}"
            for fields in (
                f"{HALVES}, seed: -1",
                f"{HALVES}, catgories: x",
                f"{HALVES}, nulls: {{a: [mean]}}",
                f"{HALVES}, train: fit",
                f"{HALVES}, expect: {{rows: 5}}",
                f"{HALVES}, expect: {{target_share: [1]}}",
                "splits: {train: 1}",
                "splits: {train: 0.5, Test: 0.5}",
                "splits: {val: 0.5, test: 0.5}",
                "splits: {train: 1.5, test: -0.5}",
                "at: hour, splits: {at: {train: '> 2013', test: rest}}",
                "at: hour, splits: {at: {train: '< 2013-01-01', test: rest}, val: 0.5}",
            )
        ),
        f"training: {{late: {{inputs: {{A: a}}, query: SELECT 1, key: id, target: x, {HALVES}}}}}",
        f"training: {{late: {{inputs: {{}}, query: SELECT 1, key: id, target: x, {HALVES}}}}}",
        f"training: {{model: {{{LEAST}, {HALVES}}}}}",
        f"training: {{late_model: {{{LEAST}, {HALVES}}}}}",
        "train: {}",
    ],
)
def test_both_refuse_an_entry_of_training_data(read_entries: ReadTraining, text: str) -> None:
    assert read_entries(text).errors
    assert not TRAINING_VALIDATOR.is_valid(yaml.safe_load(text))


def test_an_entry_of_the_checkout_is_dumped_as_json() -> None:
    entry = read_sources(CHECKOUT / "conf" / "sources.yaml").entries["flights"]
    assert json.loads(entry.model_dump_json(exclude_unset=True))["null_values"] == ["NA"]
    prepared = read_training(CHECKOUT / "conf" / "training.yaml").entries["late_arrivals"]
    assert list(json.loads(prepared.model_dump_json(exclude_unset=True))["inputs"]) == ["flights", "weather", "past"]
