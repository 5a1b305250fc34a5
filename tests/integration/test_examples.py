"""Each script of ``examples/`` runs in a process of its own, as a user runs it, against the real services."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pytest

from local_stack.settings import CHECKOUT
from local_stack.stack import Stack
from millrace.api import Store
from millrace.load import LoadOptions
from millrace.settings import Settings

EXAMPLES = CHECKOUT / "examples"
RUN_S = 120
FLIGHTS_ROWS = 60_000

Run = Callable[..., str]


@pytest.fixture
def run(settings: Settings, tmp_path: Path) -> Run:
    """Return a function that runs an example in an empty folder and returns its output."""

    def run(name: str, *arguments: str, keyspace: str = settings.cassandra.keyspace) -> str:
        environment = {**os.environ, "MILLRACE_CASSANDRA__KEYSPACE": keyspace}
        command = [sys.executable, str(EXAMPLES / f"{name}.py"), *arguments]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=RUN_S, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture
def flights(tmp_path: Path) -> str:
    path = tmp_path / "flights.csv"
    path.write_text("carrier,month,arr_delay\nUA,7,3.5\nB6,1,-2.0\nUA,7,12.0\n")
    return str(path)


def test_a_file_is_loaded_read_and_handed_to_polars_and_duckdb(run: Run, flights: str, store: Store) -> None:
    printed = run("load_and_read", flights)
    assert "3 rows in 1 chunks" in printed
    assert "2 of 3 rows are of July" in printed
    assert store.dataset("flights_example").count_rows() == 3
    printed = run("read_into_polars_and_duckdb", "flights_example")
    assert "7.75" in printed
    assert "[(1, 1), (7, 2)]" in printed


def test_reported_progress_is_followed_over_server_sent_events(run: Run, full_stack: Stack, settings: Settings) -> None:
    match = re.search(r"millrace watch python/(\S+)", run("report_progress"))
    assert match
    token = settings.bridge.token.get_secret_value() if settings.bridge.token else ""
    printed = run("follow_run", settings.bridge.url, "python", match[1], token)
    assert printed.splitlines()[-1] == "train: succeeded, 40 of 40 steps"


@pytest.fixture
def year_of_flights(store: Store) -> Iterator[int]:
    """Load rows like those of flights, whose delay grows with the hour; return their number."""
    rng = np.random.default_rng(5)
    hour, month = rng.integers(5, 24, FLIGHTS_ROWS), rng.integers(1, 13, FLIGHTS_ROWS)
    delay = 6.0 * (hour - 13) + rng.normal(0, 10, FLIGHTS_ROWS)
    columns = {"distance": rng.integers(80, 2500, FLIGHTS_ROWS), "hour": hour, "month": month}
    arr_delay = pa.array(delay, mask=rng.random(FLIGHTS_ROWS) < 0.02)
    store.load("flights", pa.table({**columns, "arr_delay": arr_delay}), LoadOptions(chunk_bytes=200_000))
    yield FLIGHTS_ROWS
    store.delete("flights", whole=True, now=True)


def test_a_linear_model_of_numpy_is_trained_over_a_stop_in_the_middle(run: Run, year_of_flights: int) -> None:
    printed = run("train_numpy")
    match = re.search(r"(\d+) steps, weights \[(.*)\]", printed)
    assert match
    assert int(match[1]) == 3 * (year_of_flights // 4096)
    distance, hour, month, constant = map(float, match[2].split(", "))
    assert 6 * 4.7 - 3 < hour < 6 * 4.7 + 3
    assert max(abs(distance), abs(month)) < 3
    assert -6 < constant < 6


def test_a_model_of_scikit_learn_is_trained_and_evaluated_on_every_row_once(run: Run, year_of_flights: int) -> None:
    printed = run("train_scikit_learn")
    match = re.fullmatch(r"([\d,]+) rows, (0\.\d+) of them predicted correctly\n", printed)
    assert match
    assert int(match[1].replace(",", "")) == year_of_flights
    assert float(match[2]) > 0.9


def test_every_method_of_the_python_page_works(run: Run, store: Store) -> None:
    keyspace = f"examples_{uuid4().hex[:12]}"
    try:
        run("every_method", keyspace=keyspace)
    finally:
        store.cassandra.session.execute(f"DROP KEYSPACE IF EXISTS {keyspace}", timeout=120)
