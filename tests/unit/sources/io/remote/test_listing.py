"""The objects that an address of a bucket names: one, a folder, a pattern, a list, and what is left out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from millrace.errors import SourceEmptyError, SourceFormatError, SourceNotFoundError, UsageError
from millrace.sources import SourceOptions, open_source, plan_source
from millrace.sources.io.files import list_files
from tests.unit.sources.io.remote.conftest import Lake

Read = Callable[..., Any]


def names(uri: str, *, keep_all: bool = False) -> list[str]:
    return [file.name for file in list_files(uri, keep_all=keep_all).files]


@pytest.fixture
def tree(lake: Lake) -> Lake:
    for name in ("d/a.csv", "d/x/b.csv", "d/x/y/c.csv", "d/_h/e.csv", "d/.f.csv", "d/_SUCCESS", "da.csv", "z/[1].csv"):
        lake.put(name)
    return lake


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("s3://lake/d/a.csv", ["a.csv"]),
        ("s3://lake/d", ["a.csv", "x/b.csv", "x/y/c.csv"]),
        ("s3://lake/d/", ["a.csv", "x/b.csv", "x/y/c.csv"]),
        ("S3://lake/d/*.csv", ["a.csv"]),
        ("s3://lake/d/**", ["a.csv", "x/b.csv", "x/y/c.csv"]),
        ("s3://lake/d/**/*.csv", ["a.csv", "x/b.csv", "x/y/c.csv"]),
        ("s3://lake/d/*/?.csv", ["x/b.csv"]),
        ("s3://lake/d/_h/*", ["e.csv"]),
        ("s3://lake/d/_*/e.csv", ["_h/e.csv"]),
        ("s3://lake/*.csv", ["da.csv"]),
        ("s3://lake/*/a.csv", ["d/a.csv"]),
        ("s3://lake/z/[1].csv", ["[1].csv"]),
        ("s3://lake/z/[[]1].csv", ["[1].csv"]),
        ("s3://lake/z/[[]*", ["[1].csv"]),
        ("s3://lake", ["d/a.csv", "d/x/b.csv", "d/x/y/c.csv", "da.csv", "z/[1].csv"]),
    ],
)
def test_an_address_names_these_objects(tree: Lake, uri: str, expected: list[str]) -> None:
    assert names(uri) == expected


def test_bytes_keep_hidden_objects(tree: Lake) -> None:
    assert names("s3://lake/d", keep_all=True) == [".f.csv", "_SUCCESS", "_h/e.csv", "a.csv", "x/b.csv", "x/y/c.csv"]


def test_objects_and_folders_left_out_are_reported(tree: Lake) -> None:
    warnings = list_files("s3://lake/d/*", keep_all=False).warnings
    assert [(warning.code, warning.file) for warning in warnings] == [
        ("hidden_files", ".f.csv"),
        ("folders_left_out", "x"),
    ]


def test_the_empty_objects_that_show_folders_are_no_files(lake: Lake) -> None:
    lake.put("d/x/a.csv")
    lake.put("d/x", b"")
    lake.put("d/empty.csv", b"")
    assert names("s3://lake/d") == ["empty.csv", "x/a.csv"]


@pytest.mark.parametrize("uri", ["s3://lake/nothing", "s3://lake/nothing/", "s3://lake/d/*.json", "s3://lake/no/*"])
def test_an_address_of_nothing_is_not_found(tree: Lake, uri: str) -> None:
    with pytest.raises(SourceNotFoundError):
        list_files(uri, keep_all=False)


def test_a_folder_of_hidden_objects_has_no_data(lake: Lake) -> None:
    lake.put("d/_a.csv")
    with pytest.raises(SourceEmptyError, match=r"1 hidden file is left out: _a\.csv"):
        list_files("s3://lake/d", keep_all=False)


@pytest.mark.parametrize(
    ("log", "uri", "kind"),
    [
        ("t/_delta_log/00.json", "s3://lake/t", "a Delta table"),
        ("t/_delta_log/00.json", "s3://lake/*/*.parquet", "a Delta table"),
        ("t/.hoodie/x", "s3://lake/t/", "a Hudi table"),
        ("t/_spark_metadata/0", "s3://lake/", "the output of a Spark stream"),
        ("t/metadata/v1.metadata.json", "s3://lake/t/**", "an Iceberg table"),
    ],
)
def test_a_folder_within_a_table_format_is_refused(lake: Lake, log: str, uri: str, kind: str) -> None:
    lake.put("t/p.parquet")
    lake.put(log)
    with pytest.raises(SourceFormatError, match=rf"s3://lake/t is {kind}"):
        list_files(uri, keep_all=False)
    assert len(names(uri, keep_all=True)) >= 1
    assert names("s3://lake/t/p.parquet") == ["p.parquet"]


def test_a_list_mixes_objects_folders_and_patterns(tree: Lake, read: Read) -> None:
    assert read("s3://lake/da.csv").num_rows == 2
    plan = plan_source(["s3://lake/da.csv", "s3://lake/d/x", "s3://lake/d/*.csv"])
    assert [file.name for file in plan.files] == ["da.csv", "d/x/b.csv", "d/x/y/c.csv", "d/a.csv"]
    with open_source(plan) as reader:
        assert sum(batch.num_rows for batch in reader) == 8
    with pytest.raises(UsageError, match=r"names /lake/d/a\.csv twice"):
        plan_source(["s3://lake/d", "s3://lake/d/a.csv"])


def test_ten_thousand_objects_take_few_lists_and_no_other_request(
    lake: Lake, counted: Callable[[str], list[Any]]
) -> None:
    for number in range(10_000):
        lake.put(f"d/{number}.csv", b"a\n1\n")
    lists, gets = counted("list"), counted("get")
    assert len(names("s3://lake/d/")) == 10_000
    assert (len(lists), len(gets)) == (1, 0)


def test_the_connection_of_the_options_is_that_of_each_file(tree: Lake) -> None:
    plan = plan_source("s3://lake/d", SourceOptions(connection="c"))
    assert {file.connection for file in plan.files} == {"c"}
