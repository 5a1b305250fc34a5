"""Two nodes reserved for these tests, which may kill and freeze them, a keyspace on them, and rows to load."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from local_stack.settings import CHECKOUT
from local_stack.stack import Stack
from millrace.api import Store
from millrace.compat.cassandra.large_frames import NODE_LOCAL
from millrace.settings import Settings, load_settings
from millrace.store.catalogue.attempt import LoadAttempt
from millrace.store.cluster.session import CassandraSession
from tests.faults.checker import Checker, Expected, Verdict
from tests.faults.gates import Gates

FULL = "MILLRACE_TEST_FULL" in os.environ
GIVEN = "MILLRACE_CASSANDRA__CONTACT_POINTS"
WAIT_S = 120

_told = pytest.StashKey[list[str]]()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the longest pauses of loads and reads; pytest shows the output of a test only when it fails."""
    lines = config.stash.get(_told, [])
    if lines:
        terminalreporter.section("longest pauses")
        for line in lines:
            terminalreporter.line(line)


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Return a function that adds a line about the test to the summary at the end of the run."""
    lines = request.config.stash.setdefault(_told, [])
    return lambda line: lines.append(f"{request.node.name}: {line}")


def wait_for(what: str, condition: Callable[[], Any], timeout_s: float = WAIT_S) -> None:
    """Poll until the condition holds; there is no notification when a node's view of another one changes."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s:.0f} s: {what}"
        time.sleep(0.1)


@pytest.fixture(scope="session")
def nodes(services: Callable[..., Stack]) -> Stack:
    """Start Cassandra alone; skip if a cluster is given, because these tests kill its nodes."""
    if GIVEN in os.environ:
        pytest.skip(f"{GIVEN} is set: the nodes of somebody else are not killed")
    return services("cassandra")


@contextmanager
def keyspace_of_our_own() -> Iterator[Settings]:
    """Make a keyspace that is dropped afterwards; without cache and progress, so that only the nodes matter."""
    made = load_settings(
        cassandra={"keyspace": f"faults_{uuid4().hex[:8]}", "request_timeout_s": 25.0},
        redis={"url": ""},
        kafka={"bootstrap_servers": ""},
    )
    Store.init(made)
    yield made
    cassandra = CassandraSession.connect(made.cassandra)
    try:
        cassandra.session.execute(f"DROP KEYSPACE IF EXISTS {made.cassandra.keyspace}", timeout=120)
    finally:
        cassandra.close()


@pytest.fixture(scope="session")
def settings(nodes: Stack) -> Iterator[Settings]:
    """Return settings with the keyspace of these tests."""
    with keyspace_of_our_own() as made:
        yield made


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    """Connect a new store for each test, so that its view of the nodes does not come from another test."""
    with Store.connect(settings) as connected:
        yield connected


@pytest.fixture
def both_up(nodes: Stack) -> Iterator[Stack]:
    """Start both nodes before the test and again after it."""
    nodes.up(["cassandra"])
    yield nodes
    for row in nodes.status():
        if row["state"] == "frozen":
            nodes.thaw(row["service"])
    nodes.up(["cassandra"])


def random_table(rows: int, seed: int = 0) -> pa.Table:
    """Return rows of 40 bytes: four incompressible integers and the row number."""
    rng = np.random.default_rng(seed)
    columns = {f"k{i}": pa.array(rng.integers(-(2**62), 2**62, rows)) for i in range(4)}
    return pa.table({"n": pa.array(np.arange(rows)), **columns})


@pytest.fixture
def parquet(tmp_path: Path) -> Callable[..., tuple[str, pa.Table]]:
    """Return a function that writes a Parquet file of ``rows`` rows and returns its path and table."""

    def write(rows: int, seed: int = 0) -> tuple[str, pa.Table]:
        table = random_table(rows, seed)
        path = tmp_path / f"t{rows}-{seed}.parquet"
        pq.write_table(table, path, row_group_size=50_000, compression="NONE", use_dictionary=False)
        return str(path), table

    return write


Judge = Callable[..., Verdict]


@pytest.fixture
def judge(settings: Settings, name: str) -> Judge:
    """Return a function that reads every dataset of the test three ways and fails unless all match ``expected``."""

    def check(expected: dict[str, Expected], *, fired: bool, ways: list[str] | None = None) -> Verdict:
        cassandra = settings.cassandra
        with Checker(cassandra.contact_points, cassandra.port, cassandra.keyspace) as checker:
            verdict = checker.check(expected, fired=fired, ways=ways, prefix=name)
        print(verdict)
        assert verdict.ok, str(verdict)
        assert verdict.chunks or not any(expectation.versions for expectation in expected.values())
        return verdict

    return check


@pytest.fixture
def gates() -> Iterator[Gates]:
    """Open gates that hold loads before a chosen write and record when writes were acknowledged."""
    with Gates() as opened:
        yield opened


def at(store: Store, host: Any, query: str, *values: Any) -> list[Any]:
    """Run CQL on the data of this node alone."""
    statement = store.cassandra.prepare(query).bind(values)
    statement.consistency_level = NODE_LOCAL
    return store.cassandra.execute(statement, host=host)


def stored_on(store: Store, host: Any, row: LoadAttempt) -> dict[tuple[int, int, int], int]:
    """Return bucket, chunk and tile of each tile of a writer on this node, with its write time."""
    query = (
        "SELECT chunk, tile, WRITETIME(data) AS at FROM {ks}.chunks WHERE dataset = ? AND attempt_id = ? AND bucket = ?"
    )
    return {
        (bucket, cell.chunk, cell.tile): cell.at
        for bucket in range(row.buckets + 1)  # the row counts the buckets begun, and may be one behind
        for cell in at(store, host, query, row.dataset, row.attempt_id, bucket)
    }


def read_alone(settings: Settings, name: str, node: int, folder: Path) -> pa.Table:
    """Read the dataset from this one node with the program in docs/format.md."""
    script = folder / "read_dataset.py"
    script.write_text(re.findall(r"```python\n(.*?)```", (CHECKOUT / "docs/format.md").read_text(), re.DOTALL)[-1])
    output = folder / f"node-{node}.arrow"
    where = [settings.cassandra.contact_points[node], str(settings.cassandra.port), settings.cassandra.keyspace]
    command = [sys.executable, str(script), *where, name, str(output)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    with pa.memory_map(str(output)) as source:
        return pa.ipc.open_file(source).read_all()


@pytest.fixture
def name() -> str:
    """Return a dataset name that no other test uses."""
    return f"d_{uuid4().hex[:10]}"
