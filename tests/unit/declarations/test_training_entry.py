"""Entries of ``conf/training.yaml``: their defaults, their preparation, and one line for each mistake."""

from __future__ import annotations

import json
from os import mkfifo
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from millrace.declarations import TrainingEntry
from millrace.errors import InvalidNameError, UsageError
from millrace.training import CutSplits, Expectations, HashSplits, Preparation
from tests.unit.declarations.conftest import ReadTraining

LEAST: dict[str, Any] = {
    "inputs": {"flights": "flights"},
    "query": "SELECT id, distance FROM flights",
    "key": "id",
    "target": "delay > 15",
    "splits": {"train": 0.5, "test": 0.5},
}
TWO: dict[str, Any] = {
    **LEAST,
    "inputs": {"flights": "flights", "weather": "weather"},
    "at": "departure",
    "known": {"weather": "seen"},
}


def entry_of(read_entries: ReadTraining, **fields: Any) -> TrainingEntry:
    declared = read_entries(yaml.safe_dump({"training": {"late": {**LEAST, **fields}}}, sort_keys=False))
    assert [str(error) for error in declared.errors] == []
    return declared.entries["late"]


def errors_of(read_entries: ReadTraining, base: dict[str, Any] = LEAST, **fields: Any) -> list[str]:
    """Return the errors of an entry without file and line; fields that are None are left out."""
    given = {name: value for name, value in {**base, **fields}.items() if value is not None}
    declared = read_entries(yaml.safe_dump({"training": {"late": given}}, sort_keys=False))
    assert declared.entries == {}
    return [str(error).split(" training.late.", 1)[1] for error in declared.errors]


def test_five_fields_are_required(read_entries: ReadTraining) -> None:
    entry = entry_of(read_entries)
    assert entry.preparation("late") == Preparation(
        name="late",
        inputs={"flights": "flights"},
        query="SELECT id, distance FROM flights",
        key=("id",),
        target="delay > 15",
        splits=HashSplits({"train": 0.5, "test": 0.5}),
    )
    assert (entry.seed, entry.schedule, entry.timezone, entry.keep, entry.warm) == (0, "any", "UTC", None, True)
    assert (entry.trainer, entry.owner, entry.tags, entry.cron) == (None, None, (), None)
    assert errors_of(read_entries, inputs=None, query=None, key=None, target=None, splits=None) == [
        "inputs is missing: give inputs",
        "key is missing: give key",
        "target is missing: give target",
        "splits is missing: give splits",
    ]


def test_each_field_reaches_the_preparation(read_entries: ReadTraining) -> None:
    entry = entry_of(
        read_entries,
        inputs={"f": "flights@12", "w": "weather@best", "planes": "planes", "past": "flights"},
        key=["hour", "id"],
        at="hour - INTERVAL 2 HOUR",
        known={"w": "seen", "planes": "always", "past": "past_seen"},
        after=["delay"],
        features=["distance", "seats"],
        categories="carrier",
        nulls={"seats": "mean", "wind": 0, "rain": 1.5, "wet": False, "kind": "none", "x": "drop", "y": "indicator"},
        splits={"by": ["day"], "train": 0.75, "val": 0.25},
        seed=2**63 - 1,
        expect={"rows_min": 10, "dropped_max_percent": 2.5, "target_share": [0.1, 1]},
    )
    assert entry.preparation("late") == Preparation(
        name="late",
        inputs={"f": "flights@12", "w": "weather@best", "planes": "planes", "past": "flights"},
        query="SELECT id, distance FROM flights",
        key=("hour", "id"),
        target="delay > 15",
        splits=HashSplits({"train": 0.75, "val": 0.25}, ("day",)),
        at="hour - INTERVAL 2 HOUR",
        known={"w": "seen", "planes": "always", "past": "past_seen"},
        after=("delay",),
        features=("distance", "seats"),
        categories=("carrier",),
        nulls={"seats": "mean", "wind": 0, "rain": 1.5, "wet": False, "kind": "none", "x": "drop", "y": "indicator"},
        seed=2**63 - 1,
        expect=Expectations(10, 2.5, (0.1, 1.0)),
    )
    assert entry.preparation("late").main == "f"
    assert entry.datasets == ("flights", "weather", "planes")


def test_fields_of_the_run_do_not_reach_the_preparation(read_entries: ReadTraining) -> None:
    others = {"schedule": "all", "keep": 3, "warm": False, "train": "a.b:fit", "owner": "me", "tags": "x"}
    entry = entry_of(read_entries, **others)
    assert entry.preparation("late") == entry_of(read_entries).preparation("late")
    assert (entry.trainer, entry.keep, entry.warm, entry.tags) == (("a.b", "fit"), 3, False, ("x",))


def test_splits_may_be_cut_off_times(read_entries: ReadTraining) -> None:
    cuts = {"train": "< 2013-09-01", "gap": "<= 2013-09-01", "val": "<2013-11-01 10:30Z", "test": "rest"}
    entry = entry_of(read_entries, at="hour", splits={"at": cuts})
    made = entry.preparation("late").splits
    assert made == CutSplits(cuts)
    assert isinstance(made, CutSplits)
    assert list(made.conditions) == ["train", "gap", "val", "test"]


def test_weights_are_added_exactly(read_entries: ReadTraining) -> None:
    assert entry_of(read_entries, splits={"train": 0.7, "val": 0.2, "test": 0.1})
    assert entry_of(read_entries, splits={"train": 0.1, **{f"s{number}": 0.1 for number in range(9)}})


@pytest.mark.parametrize(
    ("schedule", "words", "cron"),
    [
        ("any", "after flights or weather", None),
        ("all", "after flights and weather", None),
        ("5 2 * * *", "at 02:05 (Asia/Tokyo)", "5 2 * * *"),
    ],
)
def test_a_schedule_is_shown_in_words(read_entries: ReadTraining, schedule: str, words: str, cron: str | None) -> None:
    entry = entry_of(read_entries, **{**TWO, "schedule": schedule, "timezone": "Asia/Tokyo"})
    assert (entry.schedule_in_words(), entry.cron) == (words, cron)


def test_a_query_is_read_from_a_file_below_the_folder_of_the_declarations(
    read_entries: ReadTraining, conf: Path
) -> None:
    (conf / "sql").mkdir()
    (conf / "sql" / "late.sql").write_text("SELECT 1\n")
    entry = entry_of(read_entries, query=None, query_file="sql/late.sql")
    assert entry.preparation("late").query == "SELECT 1\n"
    assert entry.folder == conf


@pytest.mark.parametrize("name", ["../late.sql", "sql/../../late.sql", "/etc/hostname", "link.sql", "~/late.sql"])
def test_a_query_outside_of_the_folder_is_refused(read_entries: ReadTraining, conf: Path, name: str) -> None:
    (conf / "sql").mkdir()
    (conf.parent / "late.sql").write_text("SELECT 1\n")
    (conf / "link.sql").symlink_to("../late.sql")
    [error] = errors_of(read_entries, query=None, query_file=name)
    assert error.startswith(f"query_file is {name!r}, which ")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "which cannot be read: no such file or directory: give a file of SQL"),
        (b" \n", "which is empty or larger than 100,000 bytes: give a file of SQL"),
        (b"x" * 100_001, "which is empty or larger than 100,000 bytes: give a file of SQL"),
        (b"\xff\xfe", "which is not UTF-8: give a file of SQL"),
    ],
)
def test_a_file_without_a_query_is_refused(
    read_entries: ReadTraining, conf: Path, content: bytes | None, reason: str
) -> None:
    if content is not None:
        (conf / "a.sql").write_bytes(content)
    assert errors_of(read_entries, query=None, query_file="a.sql") == [f"query_file is 'a.sql', {reason}"]


def test_a_path_that_is_no_file_is_refused(read_entries: ReadTraining, conf: Path) -> None:
    (conf / "folder").mkdir()
    (conf / "circle").symlink_to("circle")
    mkfifo(conf / "pipe")
    for name, reason in {"folder": "is not a file", "pipe": "is not a file", "circle": "is no path"}.items():
        error = f"query_file is {name!r}, which {reason}: give a file of SQL"
        assert errors_of(read_entries, query=None, query_file=name) == [error]
    assert errors_of(read_entries, query=None, query_file="a\0b") == [
        r"query_file is 'a\x00b', which is no path: give a file of SQL"
    ]


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"inputs": {}}, "inputs is {}: give at least one alias and its dataset"),
        ({"inputs": "flights"}, 'inputs is "flights": give a map'),
        ({"inputs": {"f": 5}}, "inputs.f is 5: give a text, in quotes if it is a number"),
        (
            {"inputs": {"F": "flights"}},
            "inputs.F is not an alias: use a lower-case letter, then lower-case letters, digits or underscores",
        ),
        (
            {"inputs": {"f": "Flights"}},
            'inputs.f is "Flights": use a lower-case letter, then up to 47 lower-case letters, digits or underscores',
        ),
        (
            {"inputs": {"f": "flights@Best"}},
            'inputs.f is "flights@Best": give after @ a number (12), a full version (12-3fa9c1), latest, a tag, or a '
            "time (2026-11-22T10:00)",
        ),
        (
            {"inputs": {"f": "flights__rejects"}},
            'inputs.f is "flights__rejects": names that end in __rejects are reserved for rejected rows',
        ),
        ({"inputs": {"f": "late@3"}}, "inputs.f names the dataset of the entry itself: remove it"),
        ({"query": None}, "query is missing: give query or query_file"),
        ({"query": " "}, 'query is " ": give an expression'),
        ({"query_file": "a.sql"}, "query_file contradicts query: give one of query, query_file"),
        ({"key": []}, "key is []: give at least one column"),
        ({"key": ["a", "a"]}, "key has the column a twice: give each column once"),
        ({"key": ["a", ""]}, 'key is ["a", ""]: give names of columns'),
        ({"key": "target"}, "key has a column target: the stored target has this name; give the column another one "
         "in the query"),
        ({"target": ""}, 'target is "": give an expression'),
        ({"target": 5}, "target is 5: give a text, in quotes if it is a number"),
        ({"known": {"weather": "seen"}}, "known.weather is unknown: the entry has one input"),
        ({"known": {"flights": "always"}}, "known.flights is the main input: remove it: known has the other inputs"),
        ({"after": ["x", "id"]}, "after has the column id of the key: remove it there"),
        ({"after": ["x", "x"]}, "after has the column x twice: give each column once"),
        ({"features": ["x", "x"]}, "features has the column x twice: give each column once"),
        ({"categories": ["x", "x"]}, "categories has the column x twice: give each column once"),
        ({"nulls": {"x": ["mean"]}}, 'nulls.x is ["mean"]: give mean, drop, indicator or a constant'),
        ({"nulls": {"x": float("nan")}}, None),
        ({"nulls": ["x"]}, 'nulls is ["x"]: give a map'),
        ({"nulls": {"target": "drop"}}, "nulls has a column target: the stored target has this name; give the column "
         "another one in the query"),
        ({"seed": -1}, "seed is -1: give a number of at least 0"),
        ({"seed": 2**63}, f"seed is {2**63}: give a number of at most {2**63 - 1}"),
        ({"seed": 1.5}, "seed is 1.5: give a whole number"),
        ({"schedule": "some"}, 'schedule is "some": give any, all or a cron string: give five fields'),
        ({"timezone": "Asia/Tokio"}, 'timezone is "Asia/Tokio": did you mean Asia/Tokyo?'),
        ({"keep": 0}, "keep is 0: give a number of at least 1"),
        ({"warm": "yes"}, 'warm is "yes": give true or false'),
        ({"expect": 5}, "expect is 5: give a map"),
        ({"expect": {"row_min": 5}}, "expect.row_min is unknown: did you mean rows_min?"),
        ({"expect": {"rows_min": -1}}, "expect.rows_min is -1: give a number of at least 0"),
        ({"expect": {"dropped_max_percent": 101}}, "expect.dropped_max_percent is 101: give a number of at most 100"),
        ({"expect": {"dropped_max_percent": "1%"}}, 'expect.dropped_max_percent is "1%": give a number'),
        ({"expect": {"target_share": [0.5]}}, "expect.target_share is [0.5]: give a list of two numbers, the least and "
         "the largest share"),
        ({"expect": {"target_share": [0.5, 0.4]}}, "expect.target_share is [0.5, 0.4]: give two numbers from 0 to 1, "
         "the lower one first"),
        ({"expect": {"target_share": [0, 1.1]}}, "expect.target_share is [0, 1.1]: give two numbers from 0 to 1, "
         "the lower one first"),
        ({"train": "fit"}, r'train is "fit": give a function, as in module:function'),
        ({"owner": ""}, 'owner is "": give a name of 1 to 500 characters'),
        ({"tags": [""]}, 'tags is [""]: give tags of 1 to 100 characters'),
        ({"catgories": "x"}, "catgories is unknown: did you mean categories?"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_with_its_field(
    read_entries: ReadTraining, fields: dict[str, Any], error: str | None
) -> None:
    errors = errors_of(read_entries, **fields) if error else [None]
    assert errors == [error]


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"known": None}, "known lacks the input weather: give the column with the time at which its row was known, or "
         "always"),
        ({"known": {"weather": ""}}, 'known.weather is "": give a column of the result, or always'),
        ({"known": {"wether": "seen"}}, "known.wether is unknown: did you mean weather?"),
        ({"at": None}, "at is missing: known or splits compare with it: give the moment of prediction"),
        ({"at": " "}, 'at is " ": give an expression'),
        ({"key": "seen"}, "key has the column seen: known.weather names it, and such a column is not stored"),
        ({"features": "seen"}, "features has the column seen: known.weather names it, and such a column is not stored"),
        ({"splits": {"by": "seen", "train": 0.5, "test": 0.5}},
         "splits has the column seen: known.weather names it, and such a column is not stored"),
    ],
)  # fmt: skip
def test_every_input_but_the_first_says_when_it_was_known(
    read_entries: ReadTraining, fields: dict[str, Any], error: str
) -> None:
    assert errors_of(read_entries, TWO, **fields) == [error]


def test_inputs_that_never_change_need_no_moment_of_prediction(read_entries: ReadTraining) -> None:
    assert entry_of(read_entries, inputs=TWO["inputs"], known={"weather": "always"}).at is None


NAME_HINT = "use a lower-case letter, then up to 38 lower-case letters, digits or underscores"
TIME_HINT = 'give < or <= and a date or time, as in "< 2013-09-01"'


@pytest.mark.parametrize(
    ("splits", "error"),
    [
        ({}, " has fewer than two splits: give train and at least one more"),
        ({"train": 1}, " has fewer than two splits: give train and at least one more"),
        ({"by": "day", "train": 1.0}, " has fewer than two splits: give train and at least one more"),
        ({"val": 0.5, "test": 0.5}, " has no split train: name one of them train"),
        ({"train": 0.7, "Test": 0.3}, f".Test is not the name of a split: {NAME_HINT}"),
        ({"train": 1.5, "test": -0.5}, ".train is 1.5: give a weight above 0, and at most 1"),
        ({"train": 1, "test": 0}, ".test is 0: give a weight above 0, and at most 1"),
        ({"train": True, "test": 0.5}, ".train is true: give a weight above 0, and at most 1"),
        ({"train": 0.5, "test": "half"}, '.test is "half": give a weight above 0, and at most 1'),
        ({"train": 0.7, "test": 0.2}, " has weights that sum to 0.9: give weights that sum to 1"),
        ({"train": 0.7, "test": 0.300000002}, " has weights that sum to 1.000000002: give weights that sum to 1"),
        ({"by": [], "train": 0.5, "test": 0.5}, ".by is []: give a column or a list of columns"),
        ({"by": 5, "train": 0.5, "test": 0.5}, ".by is 5: give a column or a list of columns"),
        ({"by": ["a", "a"], "train": 0.5, "test": 0.5}, ".by has the column a twice: give each column once"),
        ({"at": {"train": "< 2013-09-01", "test": "rest"}, "val": 0.5},
         ".val contradicts at: give either weights or conditions below at"),
        ({"at": "2013-09-01"},
         '.at is "2013-09-01": give a map of conditions, as in {train: "< 2013-09-01", test: rest}'),
        ({"at": {"train": "rest"}}, ".at has fewer than two splits: give train and at least one more"),
        ({"at": {"a": "< 2013-09-01", "test": "rest"}}, ".at has no split train: name one of them train"),
        ({"at": {"train": "< 2013-09-01", "B": "rest"}}, f".at.B is not the name of a split: {NAME_HINT}"),
        ({"at": {"train": "< 2013-09-01", "test": "< 2013-10-01"}},
         '.at.test is "< 2013-10-01": the last split has the condition rest'),
        ({"at": {"train": "> 2013-09-01", "test": "rest"}}, f'.at.train is "> 2013-09-01": {TIME_HINT}'),
        ({"at": {"train": "< 2013-13-01", "test": "rest"}}, f'.at.train is "< 2013-13-01": {TIME_HINT}'),
        ({"at": {"train": "< 20130901", "test": "rest"}}, f'.at.train is "< 20130901": {TIME_HINT}'),
        ({"at": {"train": "rest", "test": "rest"}}, f'.at.train is "rest": {TIME_HINT}'),
        ({"at": {"train": 2013, "test": "rest"}}, f".at.train is 2013: {TIME_HINT}"),
        ({"at": {"train": "< 2013-09-01", "val": "< 2013-09-01", "test": "rest"}},
         '.at.val is "< 2013-09-01": give a later time than that of train'),
        ({"at": {"train": "<= 2013-09-01", "val": "< 2013-09-01T00:00Z", "test": "rest"}},
         '.at.val is "< 2013-09-01T00:00Z": give a later time than that of train'),
        (5, " is 5: give a map"),
    ],
)  # fmt: skip
def test_wrong_splits_are_refused(read_entries: ReadTraining, splits: Any, error: str) -> None:
    assert errors_of(read_entries, at="departure", splits=splits) == [f"splits{error}"]


def test_cut_off_times_need_the_moment_of_prediction(read_entries: ReadTraining) -> None:
    cuts = {"at": {"train": "< 2013-09-01", "test": "rest"}}
    assert errors_of(read_entries, splits=cuts) == [
        "at is missing: known or splits compare with it: give the moment of prediction"
    ]


def test_an_error_has_the_line_of_the_value(read_entries: ReadTraining) -> None:
    text = """
        training:
          late:
            inputs:
              flights: flights
              Weather: weather
            query: SELECT 1
            key: id
            target: x
            splits:
              train: 0.5
              test: 5
        """
    assert [str(error) for error in read_entries(text).errors] == [
        "conf/training.yaml:5: training.late.inputs.Weather is not an alias: use a lower-case letter, then lower-case "
        "letters, digits or underscores",
        "conf/training.yaml:11: training.late.splits.test is 5: give a weight above 0, and at most 1",
    ]


def test_an_entry_is_the_same_after_a_passage_through_json(read_entries: ReadTraining, conf: Path) -> None:
    (conf / "a.sql").write_text("SELECT 1")
    for fields in (TWO, {"query": None, "query_file": "a.sql"}, {"expect": {"target_share": [0, 1]}}):
        entry = entry_of(read_entries, **fields)
        fields = json.loads(entry.model_dump_json(exclude_unset=True))
        again = TrainingEntry.model_validate(fields, context={"name": "late", "folder": conf})
        assert again == entry
        assert again.preparation("late") == entry.preparation("late")


def test_an_entry_is_made_in_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    entry = TrainingEntry(**LEAST)
    assert entry.folder == tmp_path
    assert entry.preparation("own").name == "own"
    with pytest.raises(UsageError, match="the input flights of flights is flights itself"):
        entry.preparation("flights")
    with pytest.raises(InvalidNameError):
        entry.preparation("Own")
    with pytest.raises(ValidationError, match="frozen"):
        entry.seed = 5  # type: ignore[misc]
    with pytest.raises(ValidationError, match="constant"):
        TrainingEntry(**{**LEAST, "nulls": {"x": float("nan")}})


def test_words_of_an_entry_are_those_of_the_preparation() -> None:
    from millrace.declarations import split_fields, training_entry, training_fields
    from millrace.training.prepare import TARGET, entry

    assert training_fields.NULL_RULES == (entry.MEAN, entry.DROP, entry.INDICATOR)
    assert training_fields.STORED_TARGET == TARGET
    assert training_entry._ALWAYS == entry.ALWAYS
    assert split_fields._REST == entry.REST
