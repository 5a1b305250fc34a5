"""A form may request only sources below the allowed folders."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from millrace.airflow.form import allowed_roots, load_form
from millrace.airflow.request import allowed_source, load_options
from millrace.errors import SourceNotFoundError, SourceUnreadableError, UsageError
from millrace.settings import load_settings
from millrace.sources import SourceOptions, plan_source


@pytest.fixture
def roots(tmp_path: Path) -> tuple[str, ...]:
    for name in ("inbox", "demo", "private"):
        (tmp_path / name).mkdir()
    (tmp_path / "inbox" / "a.csv").write_text("x\n1\n")
    (tmp_path / "demo" / "deep").mkdir()
    (tmp_path / "demo" / "deep" / "b.csv").write_text("x\n2\n")
    (tmp_path / "private" / "secret.csv").write_text("x\n3\n")
    return str(tmp_path / "inbox"), str(tmp_path / "demo")


def test_an_absolute_path_relative_path_or_url_below_a_root_is_allowed(tmp_path: Path, roots: tuple[str, ...]) -> None:
    expected = str(tmp_path / "inbox" / "a.csv")
    assert allowed_source(expected, roots) == expected
    assert allowed_source("a.csv", roots) == expected
    assert allowed_source(f"file://{expected}", roots) == expected
    assert allowed_source("deep/b.csv", roots) == str(tmp_path / "demo" / "deep" / "b.csv")
    assert allowed_source("deep", roots) == str(tmp_path / "demo" / "deep")
    assert allowed_source(roots[0], roots) == roots[0]


def test_a_pattern_below_a_root_is_allowed(tmp_path: Path, roots: tuple[str, ...]) -> None:
    assert allowed_source("deep/*.csv", roots) == str(tmp_path / "demo" / "deep" / "*.csv")
    assert allowed_source(f"{roots[1]}/**/*.csv", roots) == f"{roots[1]}/**/*.csv"


@pytest.mark.parametrize(
    "source",
    [
        "/etc/passwd",
        "{tmp}/private/secret.csv",
        "{tmp}/inbox/../private/secret.csv",
        "../private/secret.csv",
        "{tmp}/private/*.csv",
        "{tmp}/inbox/*/../../private/*.csv",
        "{tmp}/inboxes/a.csv",
        "/",
        "file://elsewhere/a.csv",
        "s3://bucket/a.csv",
        "memory://a.csv",
        "-",
        " ",
        "a\0.csv",
    ],
)
def test_a_source_outside_of_the_roots_is_refused_with_the_allowed_folders(
    tmp_path: Path, roots: tuple[str, ...], source: str
) -> None:
    with pytest.raises(UsageError) as refused:
        allowed_source(source.format(tmp=tmp_path), roots)
    assert all(root in str(refused.value) for root in roots)


def test_a_link_that_leads_out_of_the_roots_is_refused(tmp_path: Path, roots: tuple[str, ...]) -> None:
    inbox = tmp_path / "inbox"
    (inbox / "file").symlink_to(tmp_path / "private" / "secret.csv")
    (inbox / "folder").symlink_to(tmp_path / "private")
    (inbox / "again").symlink_to("folder")
    for source in ("file", "folder", "folder/secret.csv", "folder/*.csv", "again/secret.csv"):
        with pytest.raises(UsageError, match="outside of the folders"):
            allowed_source(source, roots)


def test_a_link_from_one_root_into_another_is_followed(tmp_path: Path, roots: tuple[str, ...]) -> None:
    (tmp_path / "inbox" / "b.csv").symlink_to(tmp_path / "demo" / "deep" / "b.csv")
    assert allowed_source("b.csv", roots) == str(tmp_path / "demo" / "deep" / "b.csv")


def test_a_root_may_itself_be_a_link(tmp_path: Path, roots: tuple[str, ...]) -> None:
    (tmp_path / "link").symlink_to(roots[0])
    assert allowed_source("a.csv", [str(tmp_path / "link")]) == str(tmp_path / "inbox" / "a.csv")


def test_a_relative_path_in_no_root_is_not_found(roots: tuple[str, ...]) -> None:
    with pytest.raises(SourceNotFoundError, match=r"there is no 'missing\.csv' in"):
        allowed_source("missing.csv", roots)


def test_an_existing_file_name_with_brackets_is_not_a_pattern(tmp_path: Path, roots: tuple[str, ...]) -> None:
    (tmp_path / "inbox" / "a[1].csv").write_text("x\n1\n")
    assert allowed_source("a[1].csv", roots) == str(tmp_path / "inbox" / "a[1].csv")


@pytest.fixture
def odd_root(tmp_path: Path) -> str:
    for name, value in (("in[1]", "right"), ("in1", "wrong")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.csv").write_text(f"x\n{value}\n")
    return str(tmp_path / "in[1]")


@pytest.mark.parametrize("source", ["*.csv", "a.csv", ".", "{root}/*.csv", "{root}/a.csv", "file://{encoded}/*.csv"])
def test_a_root_name_with_brackets_is_not_a_pattern(odd_root: str, source: str) -> None:
    named = source.format(root=odd_root, encoded=odd_root.replace("[", "%5B").replace("]", "%5D"))
    plan = plan_source(allowed_source(named, [odd_root]))
    assert [file.uri for file in plan.files] == [f"{odd_root}/a.csv"]


@pytest.mark.parametrize("pattern", ["in/*/s.csv", "in/**/*.csv", "in/l*/*", "{root}/in/*/*.csv", "**/s.csv", "**"])
def test_a_pattern_that_matches_outside_of_the_roots_is_refused(tmp_path: Path, pattern: str) -> None:
    root = tmp_path / "root"
    (root / "in" / "a").mkdir(parents=True)
    (root / "in" / "a" / "t.csv").write_text("id\n1\n")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "s.csv").write_text("id\n2\n")
    (root / "in" / "link").symlink_to(tmp_path / "out")
    with pytest.raises(SourceUnreadableError, match="outside of the source"):
        plan_source(allowed_source(pattern.format(root=root), [str(root)]))


def test_a_pattern_through_a_cycle_of_links_is_refused_in_bounded_time(tmp_path: Path) -> None:
    (tmp_path / "ring").mkdir()
    for name in ("a", "b", "c"):
        (tmp_path / "ring" / name).symlink_to(".")
    begun = time.monotonic()
    with pytest.raises(SourceUnreadableError, match="leads back to a folder above it"):
        plan_source(allowed_source("ring/**/*.csv", [str(tmp_path)]))
    assert time.monotonic() - begun < 10


def test_a_pattern_is_resolved_in_the_root_that_has_a_match(tmp_path: Path, roots: tuple[str, ...]) -> None:
    assert allowed_source("*/b.csv", roots) == f"{roots[1]}/*/b.csv"
    with pytest.raises(SourceNotFoundError):
        allowed_source("*.parquet", roots)


def test_without_configured_roots_the_inbox_and_the_demo_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    home = os.environ["MILLRACE_HOME"]
    assert allowed_roots(load_settings()) == (f"{home}/inbox", f"{home}/demo")
    monkeypatch.setenv("MILLRACE_SOURCES__ROOTS", "/data,/more")
    assert allowed_roots(load_settings()) == ("/data", "/more")


def filled_in(**fields: Any) -> dict[str, Any]:
    defaults = {name: field.value for name, field in load_form().items() if field.has_value or name not in fields}
    return {**defaults, "dataset": "d", **fields}


def test_an_unchanged_form_gives_the_default_options(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, roots: tuple[str, ...]
) -> None:
    monkeypatch.setenv("MILLRACE_SOURCES__ROOTS", ",".join(roots))
    source, options = load_options(filled_in(source="a.csv"), load_settings())
    assert source == str(tmp_path / "inbox" / "a.csv")
    assert (options.mode, options.codec, options.codec_level, options.chunk_bytes) == (
        "replace",
        "gzip",
        None,
        5_000_000,
    )
    assert (options.source.format, options.source.delimiter, options.source.encoding) == (None, None, None)
    assert options.source.null_values is None
    assert options.source == SourceOptions()


def test_the_fields_of_the_form_become_load_options(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, roots: tuple[str, ...]
) -> None:
    monkeypatch.setenv("MILLRACE_SOURCES__ROOTS", ",".join(roots))
    (tmp_path / "inbox" / "schema.json").write_text("{}")
    form = filled_in(
        source="a.csv",
        mode="incremental",
        on_change="ignore",
        null_values=["NA", ""],
        column_types=["delay=int64", "a=b=string", " ", " seen =timestamp[us, tz=UTC]\r"],
        format="csv",
        delimiter="\\t",
        header=False,
        skip_rows=2,
        decimal=",",
        date_format=["%d.%m.%Y"],
        true_value=["ja", "", "wahr"],
        false_value=["nein"],
        records="data.items",
        columns=["a=b", "last, first", " "],
        rename=["delay=late", '"a=b"=ab', ""],
        schema_file="schema.json",
        codec="zstd",
        codec_level=9,
        chunk_bytes=65_536,
        split_bytes=2_000_000,
        max_splits=3,
    )
    _, options = load_options(form, load_settings())
    assert (options.mode, options.on_change) == ("incremental", "ignore")
    assert (options.codec, options.codec_level, options.chunk_bytes) == ("zstd", 9, 65_536)
    assert options.source.null_values == ("NA", "")
    assert options.source.column_types == (
        ("delay", "int64"),
        ("a=b", "string"),
        (" seen ", "timestamp[us, tz=UTC]"),
    )
    assert (options.source.format, options.source.delimiter, options.source.header) == ("csv", "\t", False)
    assert (options.source.skip_rows, options.source.decimal) == (2, ",")
    assert (options.source.true_value, options.source.false_value) == (("ja", "wahr"), ("nein",))
    assert options.source.date_format == ("%d.%m.%Y",)
    assert options.source.records == "data.items"
    assert options.source.columns == ("a=b", "last, first")
    assert options.source.rename == (("delay", "late"), ("a=b", "ab"))
    assert options.source.schema_file == str(tmp_path / "inbox" / "schema.json")
    assert (options.source.split_bytes, options.source.max_splits) == (2_000_000, 3)


def test_a_schema_file_outside_of_the_roots_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, roots: tuple[str, ...]
) -> None:
    monkeypatch.setenv("MILLRACE_SOURCES__ROOTS", ",".join(roots))
    form = filled_in(source="a.csv", schema_file=str(tmp_path / "private" / "secret.csv"))
    with pytest.raises(UsageError, match="outside of the folders"):
        load_options(form, load_settings())


def test_a_column_type_without_a_column_is_refused(monkeypatch: pytest.MonkeyPatch, roots: tuple[str, ...]) -> None:
    monkeypatch.setenv("MILLRACE_SOURCES__ROOTS", ",".join(roots))
    with pytest.raises(UsageError, match="'int64' is not COLUMN=TYPE"):
        load_options(filled_in(source="a.csv", column_types=["int64"]), load_settings())
