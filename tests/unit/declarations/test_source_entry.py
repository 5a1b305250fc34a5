"""Entries of ``conf/sources.yaml``: their defaults, and one line for each mistake."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from millrace.declarations import SourceEntry
from millrace.declarations.option_fields import OPTION_NAMES
from millrace.sources import BadRowBudget, Contract, SourceOptions
from tests.unit.declarations.conftest import Read


def entry_of(read: Read, fields: str) -> SourceEntry:
    declared = read(f"sources:\n  flights: {{{fields}}}\n")
    assert [str(error) for error in declared.errors] == []
    return declared.entries["flights"]


def errors_of(read: Read, fields: str) -> list[str]:
    declared = read(f"sources:\n  flights:\n    {fields}\n")
    assert declared.entries == {}
    return [str(error).removeprefix("conf/sources.yaml:") for error in declared.errors]


def test_only_a_uri_is_required(read: Read) -> None:
    entry = entry_of(read, "uri: flights.csv")
    assert (entry.uri, entry.dataset, entry.mode) == (("flights.csv",), "flights", "replace")
    assert entry.contract.contract == Contract(columns="evolve", types="freeze")
    assert entry.max_bad_rows == BadRowBudget(rows=0)
    assert (entry.timezone, entry.warm, entry.keep, entry.tags) == ("UTC", True, None, ())
    assert entry.source_options() == SourceOptions()
    assert entry.schedule_in_words() == "by hand"


def test_each_field_has_its_value(read: Read) -> None:
    entry = entry_of(
        read,
        "uri: [a.csv, b.csv], connection: aws_default, dataset: trips, mode: append, every: 90m, contract: freeze, "
        "max_bad_rows: 1.5%, max_bytes: 1_000_000, max_files: 10, warm: false, keep: 3, expected_by: 06:00, "
        "notify: slack_default, owner: me, tags: [a, b], format: csv, null_values: NA, column_types: {a: int64}, "
        "delimiter: ';', codec: zstd, codec_level: 3, chunk_bytes: 100000",
    )
    assert entry.uri == ("a.csv", "b.csv")
    assert (entry.dataset, entry.mode, entry.interval) == ("trips", "append", timedelta(minutes=90))
    assert entry.contract.contract == Contract(columns="freeze", types="freeze")
    assert entry.max_bad_rows == BadRowBudget(percent=1.5)
    assert (entry.max_bytes, entry.max_files, entry.warm, entry.keep) == (1_000_000, 10, False, 3)
    assert (entry.connection, entry.notify, entry.expected_by) == ("aws_default", "slack_default", "06:00")
    assert (entry.owner, entry.tags) == ("me", ("a", "b"))
    assert entry.source_options() == SourceOptions(
        format="csv",
        null_values=("NA",),
        column_types=(("a", "int64"),),
        delimiter=";",
        connection="aws_default",
    )
    options = [getattr(entry, name) for name in ("codec", "codec_level", "chunk_bytes")]
    assert options == ["zstd", 3, 100_000]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ("schedule: 5 2 * * *, timezone: Europe/Berlin", "at 02:05 (Europe/Berlin)"),
        ("every: 15m", "every 15 minutes"),
        ("after: trips", "after trips"),
        ("after: [trips, planes]", "after trips, planes"),
    ],
)
def test_a_schedule_is_shown_in_words(read: Read, fields: str, words: str) -> None:
    assert entry_of(read, f"uri: a, {fields}").schedule_in_words() == words


@pytest.mark.parametrize(
    ("fields", "contract"),
    [
        ("contract: discard_row", Contract(columns="discard_row", types="discard_row")),
        ("contract: {columns: freeze}", Contract(columns="freeze", types="freeze")),
        ("contract: {types: evolve}", Contract(columns="evolve", types="evolve")),
    ],
)
def test_a_contract_is_a_word_or_a_word_for_columns_and_for_types(read: Read, fields: str, contract: Contract) -> None:
    assert entry_of(read, f"uri: a, {fields}").contract.contract == contract


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("0", BadRowBudget(rows=0)),
        ("100", BadRowBudget(rows=100)),
        ("0%", BadRowBudget(percent=0)),
        ("100%", BadRowBudget(percent=100)),
    ],
)
def test_a_budget_is_a_number_or_a_share(read: Read, text: str, budget: BadRowBudget) -> None:
    assert entry_of(read, f"uri: a, max_bad_rows: {text}").max_bad_rows == budget
    assert str(budget) == text


def test_a_uri_with_a_date_is_incremental_by_default_or_replace(read: Read) -> None:
    assert entry_of(read, "uri: 'a/{date:%Y}.csv'").mode == "incremental"
    assert entry_of(read, "uri: 'a/{date:%Y}.csv', mode: replace").mode == "replace"


def test_the_options_of_a_load_are_fields_and_internal_ones_are_not() -> None:
    assert set(OPTION_NAMES) <= set(SourceEntry.model_fields)
    assert "piece_bytes" not in SourceEntry.model_fields
    assert not set(OPTION_NAMES) & set(SourceEntry.__annotations__)


URI = "uri: a.csv\n    "


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ("owner: me", "2: sources.flights.uri is missing: give uri"),
        ("uri:", "3: sources.flights.uri is missing: give uri"),
        ("uri: ''", '3: sources.flights.uri is "": give a path, a pattern or a URI'),
        ("uri: '-'", '3: sources.flights.uri is "-": give a path, a pattern or a URI'),
        ("uri: []", "3: sources.flights.uri is []: give a path, a pattern or a URI"),
        ("uri: 5", "3: sources.flights.uri is 5: give a text or a list of texts"),
        ("uri: [a, 5]", "3: sources.flights.uri.1 is 5: give a text, in quotes if it is a number"),
        ("uri:\n      - a\n      - 5", "5: sources.flights.uri.1 is 5: give a text, in quotes if it is a number"),
        (
            "uri: 'a{dat:%Y}'",
            '3: sources.flights.uri is "a{dat:%Y}": write a date as {date:%Y/%m/%d} or {date-1d:%Y/%m/%d}, with %Y '
            "%m %d %H %M %j %y %G %V %u",
        ),
        (
            "mode: append\n    uri: 'a{date:%Y}'",
            '3: sources.flights.mode is "append" for a URI with a date: give incremental or replace',
        ),
        (
            URI + "mode: upsert",
            '4: sources.flights.mode is "upsert": give replace, append or incremental',
        ),
        (URI + "schedule: 5 * *", '4: sources.flights.schedule is "5 * *": give five fields'),
        (URI + "shedule: 5", "4: sources.flights.shedule is unknown: did you mean schedule?"),
        (
            URI + "timezone: Europe/Berlni",
            '4: sources.flights.timezone is "Europe/Berlni": did you mean Europe/Berlin?',
        ),
        (
            URI + "every: 1.5h",
            '4: sources.flights.every is "1.5h": give a number of minutes, hours or days, as in 15m, 2h or 1d',
        ),
        (
            URI + "every: 1d\n    schedule: 0 0 * * *",
            "5: sources.flights.schedule contradicts every: give one of every, schedule",
        ),
        (URI + "after: [a]\n    every: 1d", "5: sources.flights.every contradicts after: give one of after, every"),
        (URI + "after: flights", "4: sources.flights.after names the dataset of the entry itself: remove it"),
        (URI + "after: [a, a]", '4: sources.flights.after is ["a", "a"]: give each dataset once'),
        (
            URI + "after: Trips",
            '4: sources.flights.after is "Trips": use a lower-case letter, then up to 47 lower-case letters, digits '
            "or underscores",
        ),
        (
            URI + "contract: frieze",
            '4: sources.flights.contract is "frieze": give one of evolve, freeze, discard_row, discard_value, or '
            "columns and types",
        ),
        (
            URI + "contract:\n      columns: drop",
            '5: sources.flights.contract.columns is "drop": give evolve, freeze, discard_row or discard_value',
        ),
        (URI + "contract: {colums: freeze}", "4: sources.flights.contract.colums is unknown: did you mean columns?"),
        (URI + "contract: 5", "4: sources.flights.contract is 5: give a map"),
        (URI + "max_bad_rows: 101%", '4: sources.flights.max_bad_rows is "101%": give a number of rows, or 0% to 100%'),
        (URI + "max_bad_rows: -1", "4: sources.flights.max_bad_rows is -1: give a number of rows, or 0% to 100%"),
        (URI + "max_bad_rows: true", "4: sources.flights.max_bad_rows is true: give a number of rows, or 0% to 100%"),
        (URI + "max_bytes: 0", "4: sources.flights.max_bytes is 0: give a number of at least 1"),
        (URI + "max_files: 1.5", "4: sources.flights.max_files is 1.5: give a whole number"),
        (URI + "warm: yes", '4: sources.flights.warm is "yes": give true or false'),
        (URI + "keep: 0", "4: sources.flights.keep is 0: give a number of at least 1"),
        (URI + "expected_by: 6:00", '4: sources.flights.expected_by is "6:00": give a time of day, as in "06:00"'),
        (URI + "owner: 5", "4: sources.flights.owner is 5: give a text, in quotes if it is a number"),
        (URI + "owner: ''", '4: sources.flights.owner is "": give a name of 1 to 500 characters'),
        (URI + "owner: 'a\n\n      b'", r'4: sources.flights.owner is "a\nb": give a name of 1 to 500 characters'),
        (URI + f"tags: [{'t' * 101}]", f'4: sources.flights.tags is ["{"t" * 78}...: give tags of 1 to 100 characters'),
        (URI + "tags: [a, '']", '4: sources.flights.tags is ["a", ""]: give tags of 1 to 100 characters'),
        (URI + "tags: {a: b}", '4: sources.flights.tags is {"a": "b"}: give a text or a list of texts'),
        (
            URI + "connection: a b",
            '4: sources.flights.connection is "a b": give a text like ^[A-Za-z0-9][A-Za-z0-9_.-]{0,249}$',
        ),
        (
            URI + "dataset: Flights",
            '4: sources.flights.dataset is "Flights": use a lower-case letter, then up to 47 lower-case letters, '
            "digits or underscores",
        ),
        (
            URI + "dataset: a__rejects",
            '4: sources.flights.dataset is "a__rejects": names that end in __rejects are reserved for rejected rows',
        ),
        (
            URI + f"dataset: {'a' * 40}\n    max_bad_rows: 1",
            f"4: sources.flights.dataset is too long for its rejects {'a' * 40}__rejects: with max_bad_rows a dataset "
            "has a name of at most 39 characters",
        ),
        (
            URI + "delimiter: ';;'",
            "4: sources.flights.delimiter is wrong: the delimiter is ';;': give one ASCII character that is neither a "
            "quote nor a line end, or auto",
        ),
        (
            URI + "format: xml",
            "4: sources.flights.format is wrong: unknown source format 'xml': use one of parquet, arrow, jsonl, "
            "json, csv, bytes",
        ),
        (
            URI + "skip_rows: -1",
            "4: sources.flights.skip_rows is wrong: skip_rows is -1: give a whole number, at least 0",
        ),
        (URI + "header: no", '4: sources.flights.header is "no": give true or false'),
        (URI + "null_values: [0]", "4: sources.flights.null_values.0 is 0: give a text, in quotes if it is a number"),
        (URI + "codec: lz4", '4: sources.flights.codec is "lz4": give gzip, zstd or none'),
        (URI + "chunk_bytes: 1", "4: sources.flights.chunk_bytes is 1: give a number of at least 65536"),
        (URI + "codec_level: 99", "4: sources.flights.codec_level is 99: give a number of at most 22"),
        (
            URI + "rename: {a: x, b: x}",
            "4: sources.flights.rename is wrong: rename gives two columns the name 'x': give them different names",
        ),
        (
            URI + "true_value: x\n    null_values: x",
            "2: sources.flights has contradicting options: true_value or false_value has 'x', which means null: give "
            "the texts that mean null: --null-value",
        ),
    ],
)
def test_a_mistake_is_one_line_with_its_line_and_field(read: Read, fields: str, error: str) -> None:
    assert errors_of(read, fields) == [error]


def test_a_wrong_type_of_a_column_is_refused(read: Read) -> None:
    [error] = errors_of(read, "uri: a\n    column_types: {a: int46}")
    assert error.startswith("4: sources.flights.column_types is wrong: unknown column type 'int46': use an Arrow type")


@pytest.mark.parametrize(
    "uri",
    [
        "s3://key:geheim@bucket/a.csv",
        "https://geheim@example.org/a.csv",
        "https://example.org/a.csv?X-Amz-Signature=geheim",
        "https://example.org/a.csv?a=1&access_token=geheim",
        "https://example.org/a.csv?API-KEY=geheim",
        "https://account.example/a?sv=1&sig=geheim",
    ],
)
@pytest.mark.parametrize("fields", ["uri: '{}'", "uri: [a, '{}']"])
def test_a_uri_with_credentials_is_refused_and_never_shown(read: Read, uri: str, fields: str) -> None:
    assert errors_of(read, fields.format(uri)) == [
        "3: sources.flights.uri has a URI with credentials: remove them, and name a connection in the field connection"
    ]


@pytest.mark.parametrize(
    "fields",
    [
        "uri: {a: 's3://k:geheim@b/x'}",
        "uri: a\n    connection: https://k:geheim@b",
        "uri: a\n    owner: ['x://geheim@']",
    ],
)
def test_credentials_in_the_wrong_place_are_not_shown(read: Read, fields: str) -> None:
    errors = errors_of(read, fields)
    assert len(errors) == 1
    assert "geheim" not in errors[0]
    assert "***@" in errors[0]


def test_a_secret_parameter_in_the_wrong_place_is_not_shown(read: Read) -> None:
    assert errors_of(read, "uri: {a: 'https://x/?sig=geheim&b=1'}") == [
        '3: sources.flights.uri is {"a": "https://x/?sig=***&b=1"}: give a text or a list of texts'
    ]
    assert "geheim" not in errors_of(read, "uri: ['a{', 'https://x/?sig=geheim']")[0]


@pytest.mark.parametrize("uri", ["folder/*@2x.csv", "https://example.org/?page=1&monkey=2", "s3://b/signature=1/a.csv"])
def test_other_uris_are_accepted(read: Read, uri: str) -> None:
    assert entry_of(read, f"uri: '{uri}'").uri == (uri,)


def test_several_mistakes_of_an_entry_are_listed_together(read: Read) -> None:
    assert [error.split(" ")[0] for error in errors_of(read, "uri: 5\n    keep: 0\n    mode: x\n    foo: 1")] == [
        "3:",
        "4:",
        "5:",
        "6:",
    ]


def test_the_next_run_follows_the_last_one_or_the_cron_string(read: Read) -> None:
    now = datetime(2026, 11, 22, 10, tzinfo=UTC)
    last = now - timedelta(minutes=20)
    every = entry_of(read, "uri: a.csv, every: 1h, timezone: Asia/Tokyo")
    assert (every.next_run(last, now) or now).isoformat() == "2026-11-22T19:40:00+09:00"
    assert every.next_run(None, now) == now
    assert every.next_run(now - timedelta(days=1), now) == now
    assert entry_of(read, 'uri: a.csv, schedule: "0 9 * * *"').next_run(last, now) == now + timedelta(hours=23)
    assert entry_of(read, "uri: a.csv, after: weather").next_run(last, now) is None
    assert entry_of(read, "uri: a.csv").next_run(last, now) is None
