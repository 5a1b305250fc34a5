"""The load of an entry: its source at a time, its options, and the errors of a name that cannot be loaded."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from millrace.declarations import SourceEntry, declared_load, find_source, load_options, local_time
from millrace.errors import DeclarationError, UsageError
from millrace.settings import Settings
from millrace.sources import BadRowBudget, Contract, Reaction
from tests.unit.declarations.conftest import Read


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    for name in ("a.csv", "b.csv", "types.json", "2026-11-28.csv"):
        (tmp_path / name).touch()
    load: dict[str, Any] = {"infer_bytes": 1234, "max_splits": 3}
    sources: dict[str, Any] = {"roots": (str(tmp_path),), "file": str(tmp_path / "conf" / "sources.yaml")}
    return Settings(load=load, sources=sources)


def entry(**fields: Any) -> SourceEntry:
    return SourceEntry.model_validate(fields, context={"name": "trips"})


def test_every_option_of_an_entry_reaches_the_load(settings: Settings, tmp_path: Path) -> None:
    made = entry(
        uri="a.csv",
        mode="append",
        delimiter=";",
        column_types={"a": "int16"},
        schema_file="types.json",
        max_splits=5,
        codec="zstd",
        codec_level=3,
        chunk_bytes=100_000,
        max_bad_rows="1%",
        contract={"columns": "freeze"},
        max_files=9,
        max_bytes=99,
    )
    options = load_options(made, settings)
    assert (options.mode, options.codec, options.codec_level, options.chunk_bytes) == ("append", "zstd", 3, 100_000)
    assert (options.bad_rows, options.contract) == (
        BadRowBudget.of("1%"),
        Contract(columns=Reaction.FREEZE, types=Reaction.FREEZE),
    )
    assert (options.max_files, options.max_bytes, options.roots) == (9, 99, (str(tmp_path),))
    source = options.source
    assert (source.delimiter, source.column_types) == (";", (("a", "int16"),))
    assert source.schema_file == str(tmp_path / "types.json")
    assert (source.infer_bytes, source.max_splits) == (1234, 5)


def test_an_unchanged_source_is_skipped_unless_the_load_is_forced(settings: Settings) -> None:
    assert load_options(entry(uri="a.csv"), settings).skip_unchanged
    assert not load_options(entry(uri="a.csv"), settings, force=True).skip_unchanged
    assert not declared_load(entry(uri="a.csv"), settings, force=True).options.skip_unchanged


def test_one_uri_is_one_path_and_several_are_a_list(settings: Settings, tmp_path: Path) -> None:
    assert declared_load(entry(uri="a.csv"), settings).source == str(tmp_path / "a.csv")
    several = declared_load(entry(uri=["a.csv", "b.csv"], dataset="other", warm=False), settings)
    assert several.source == (str(tmp_path / "a.csv"), str(tmp_path / "b.csv"))
    assert (several.dataset, several.warm) == ("other", False)


def test_dates_are_those_of_the_time_in_the_timezone_of_the_entry(settings: Settings, tmp_path: Path) -> None:
    made = entry(uri="{date:%Y-%m-%d}.csv", timezone="America/New_York")
    when = datetime(2026, 11, 29, 4, tzinfo=UTC)
    assert declared_load(made, settings, logical_date=when).source == str(tmp_path / "2026-11-28.csv")


@pytest.mark.parametrize("timezone", ["America/New_York", "Asia/Tokyo"])
def test_a_date_alone_is_that_day_in_the_timezone_of_the_entry(
    settings: Settings, tmp_path: Path, timezone: str
) -> None:
    made = entry(uri="{date:%Y-%m-%d}.csv", timezone=timezone)
    when = local_time(datetime(2026, 11, 28), made.timezone)
    assert declared_load(made, settings, logical_date=when).source == str(tmp_path / "2026-11-28.csv")


def test_a_path_outside_of_the_allowed_folders_is_refused(settings: Settings) -> None:
    with pytest.raises(UsageError, match="is outside of the folders"):
        declared_load(entry(uri="/etc/passwd"), settings)
    with pytest.raises(UsageError, match="is outside of the folders"):
        load_options(entry(uri="a.csv", schema_file="/etc/passwd"), settings)


def test_an_entry_is_found_by_its_name(read: Read, settings: Settings) -> None:
    read("sources:\n  trips: {uri: a.csv}\n")
    assert find_source("trips", settings).dataset == "trips"


@pytest.mark.parametrize(
    ("text", "name", "kind", "message"),
    [
        (
            "sources:\n  trips: {uri: a.csv}\n",
            "tripz",
            UsageError,
            "no source 'tripz' is declared in conf/sources.yaml: did you mean trips?",
        ),
        (
            "",
            "trips",
            UsageError,
            "no source 'trips' is declared in conf/sources.yaml: millrace sources lists the declared sources",
        ),
        (
            "sources:\n  trips: {uri: a.csv, keep: 0, every: 1x}\n",
            "trips",
            DeclarationError,
            "sources.trips.every is .*; conf/sources.yaml:2: sources.trips.keep is 0: give a number",
        ),
        ("sources: [", "trips", DeclarationError, "this is not YAML"),
    ],
)
def test_a_source_that_cannot_be_loaded_has_its_own_error(
    read: Read, settings: Settings, text: str, name: str, kind: type[Exception], message: str
) -> None:
    read(text)
    with pytest.raises(kind, match=message):
        find_source(name, settings)


def test_a_broken_entry_does_not_harm_another_one(read: Callable[..., Any], settings: Settings) -> None:
    read("sources:\n  a: {uri: a.csv, keep: 0}\n  b: {uri: b.csv}\n")
    assert find_source("b", settings).dataset == "b"
