"""DataStax Bulk Loader 1.10 on the same nodes: one table row per source row, measured by its own report."""

from __future__ import annotations

import re
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from bench.cluster import KEYSPACE, Cluster
from bench.contestant import peak_rss_bytes
from local_stack.services.base import StackLayout
from local_stack.services.java import java_command
from millrace.errors import StackError
from millrace.settings import CassandraSettings

__all__ = ["DSBULK", "BulkLoad", "bulk_load", "create_flights_table", "parse_report"]

DSBULK = "1.10.0"
_MAIN = "com.datastax.oss.dsbulk.runner.DataStaxBulkLoader"
_HEAP_MB = 1024
_TIMEOUT_S = 1800
_SAMPLE_S = 0.25
_TABLE = "flights_rows"
_COLUMNS = (
    "year int, month int, day int, dep_time double, sched_dep_time int, dep_delay double, arr_time double, "
    "sched_arr_time int, arr_delay double, carrier text, flight int, tailnum text, origin text, dest text, "
    "air_time double, distance double, hour int, minute int, time_hour text"
)
_KEY = "(month, day), hour, minute, carrier, flight, origin"


@dataclass(frozen=True, slots=True)
class BulkLoad:
    """The report of one run: rows loaded, rows that failed, the mean rate, and the peak memory of its process."""

    rows: int
    failed: int
    rows_per_s: float
    peak_rss_bytes: int


def create_flights_table(cluster: Cluster) -> str:
    """Create a table with one column per column of flights; return its name."""
    cluster.execute(f"CREATE TABLE {KEYSPACE}.{_TABLE} ({_COLUMNS}, PRIMARY KEY ({_KEY}))")
    cluster.execute(f"ALTER TABLE {KEYSPACE}.{_TABLE} WITH allow_auto_snapshot = false")
    return _TABLE


def bulk_load(place: StackLayout, cassandra: CassandraSettings, source: Path) -> BulkLoad:
    """Load the CSV once, with default settings except the addresses of the nodes and the text of null.

    Raises ``StackError`` with the last lines of its output if it fails.
    """
    with tempfile.TemporaryDirectory(prefix="dsbulk-", dir=place.folder("tmp")) as logs:
        command = java_command(
            place, "dsbulk", _MAIN, "load",
            "-url", str(source), "-k", KEYSPACE, "-t", _TABLE, "-header", "true",
            "-h", ",".join(cassandra.contact_points), "-port", str(cassandra.port), "-dc", cassandra.local_dc,
            "--codec.nullStrings", "NA", "-logDir", logs,
            heap_mb=_HEAP_MB,
        )  # fmt: skip
        output = Path(logs) / "output"
        with output.open("wb") as sink:
            process = subprocess.Popen(command, env=place.base_env(), stdout=sink, stderr=subprocess.STDOUT)
            peak = _wait(process)
        text = output.read_text(errors="replace")
    try:
        rows, failed, rate = parse_report(text)
    except ValueError:
        rows, failed, rate = 0, -1, 0.0
    if process.returncode or failed:
        tail = "\n".join(f"  {line}" for line in text.splitlines()[-15:])
        raise StackError(f"DataStax Bulk Loader ended with {process.returncode}, {failed} rows failed:\n{tail}")
    return BulkLoad(rows, failed, rate, peak)


def _wait(process: subprocess.Popen[bytes]) -> int:
    """Return the peak memory of the process when it has ended; kill it if it takes longer than ``_TIMEOUT_S``."""
    peak, deadline = 0, time.monotonic() + _TIMEOUT_S
    try:
        while True:
            peak = max(peak, peak_rss_bytes(process.pid))  # sampled while it runs: the value is gone with the process
            try:
                process.wait(_SAMPLE_S)
                return peak
            except subprocess.TimeoutExpired:
                if time.monotonic() > deadline:
                    raise StackError(f"DataStax Bulk Loader did not end within {_TIMEOUT_S} s") from None
    except BaseException:
        process.kill()
        process.wait()
        raise


def parse_report(text: str) -> tuple[int, int, float]:
    """Return total, failed and rows/s of the last line of its table; raise ``ValueError`` if there is no table."""
    cells_by_column = None
    columns: list[str] = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if "total" in cells and "rows/s" in cells:
            columns = cells
        elif columns and len(cells) == len(columns) and re.fullmatch(r"[\d,]+", cells[0]):
            cells_by_column = dict(zip(columns, cells, strict=True))
    if cells_by_column is None:
        raise ValueError("no report")
    numbers = {name: float(cells_by_column[name].replace(",", "")) for name in ("total", "failed", "rows/s")}
    return int(numbers["total"]), int(numbers["failed"]), numbers["rows/s"]
