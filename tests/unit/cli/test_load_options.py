from __future__ import annotations

from typing import Any

import click
import pytest

from millrace.cli.app import cli
from millrace.cli.commands import load
from millrace.cli.load_options import chosen_options
from millrace.errors import InvalidSettingError, UsageError
from millrace.load import LoadOptions
from millrace.settings import LoadSettings
from millrace.sources import SourceOptions


def parsed(*args: str) -> dict[str, Any]:
    context = load.command.make_context("load", ["flights", "f.csv", *args], **cli.context_settings)
    return dict(context.params)


def options(*args: str) -> LoadOptions:
    return chosen_options(LoadSettings(infer_bytes=123, max_unit_bytes=456), parsed(*args))


def test_without_options_a_load_uses_the_settings() -> None:
    assert options() == LoadOptions(source=SourceOptions(infer_bytes=123, max_unit_bytes=456, max_splits=1))


def test_every_option_of_tables_reaches_the_load() -> None:
    given = options(
        "--delimiter", "auto", "--decimal", ",", "--date-format", "%d.%m.%Y", "--date-format", "%F %T",
        "--true-value", "yes", "--true-value", "Y", "--false-value", "no",
        "--skip-rows", "3", "--columns", '"last, first",id', "--rename", '"last, first"=name', "--rename", "id=key",
    )  # fmt: skip
    source = SourceOptions(
        delimiter="auto",
        decimal=",",
        date_format=("%d.%m.%Y", "%F %T"),
        true_value=("yes", "Y"),
        false_value=("no",),
        skip_rows=3,
        columns=("last, first", "id"),
        rename=(("last, first", "name"), ("id", "key")),
        infer_bytes=123,
        max_unit_bytes=456,
        max_splits=1,
    )
    assert given.source == source


def test_every_option_reaches_the_load() -> None:
    given = options(
        "--mode", "append", "--format", "csv", "--codec", "zstd", "--chunk-bytes", "70000", "--null-value", "NA",
        "--null-value", "", "--column-type", "a=int8", "--column-type", "t=timestamp[s, tz=UTC]",
        "--column-type", "a=b=string", "--schema", "s.json",
        "--records", "data.items",
        "--delimiter", "\\t", "--encoding", "latin-1", "--no-header", "--infer-bytes", "1", "--max-unit-bytes", "2",
    )  # fmt: skip
    source = SourceOptions(
        format="csv",
        null_values=("NA", ""),
        column_types=(("a", "int8"), ("t", "timestamp[s, tz=UTC]"), ("a=b", "string")),
        schema_file="s.json",
        delimiter="\t",
        encoding="latin-1",
        header=False,
        records="data.items",
        infer_bytes=1,
        max_unit_bytes=2,
        max_splits=1,
    )
    assert given == LoadOptions(mode="append", source=source, codec="zstd", chunk_bytes=70000)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--column-type", "a"), "'a' is not COLUMN=TYPE"),
        (("--column-type", "=int8"), "'=int8' is not COLUMN=TYPE"),
        (("--column-type", "a="), "'a=' is not COLUMN=TYPE"),
        (("--chunk-bytes", "5MB"), "'5MB' is not a valid integer"),
        (("--run-id", ""), "1 to 200 printable characters"),
        (("--run-id", "a\nb"), "1 to 200 printable characters"),
        (("--run-id", "x" * 201), "1 to 200 printable characters"),
    ],
)
def test_wrong_values_are_refused_before_any_connection(args: tuple[str, ...], message: str) -> None:
    with pytest.raises((click.BadParameter, UsageError), match=message):
        parsed(*args)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--format", "xml"), "unknown source format 'xml'"),
        (("--delimiter", ";;"), "the delimiter is ';;'"),
        (("--infer-bytes", "0"), "infer_bytes is 0"),
        (("--max-unit-bytes", "-1"), "max_unit_bytes is -1"),
    ],
)
def test_values_outside_their_range_are_refused_by_name(args: tuple[str, ...], message: str) -> None:
    with pytest.raises(InvalidSettingError, match=message):
        options(*args)
