"""``kill -9`` of the loader at any point leaves no visible version, and the same load then succeeds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from local_stack.settings import CHECKOUT
from pipeline.api import Store
from pipeline.load import LoadOptions, LoadReport
from pipeline.settings import Settings
from tests.faults.checker import Expected
from tests.faults.conftest import Judge

ROWS = 250_000
"""10 MB: some ten chunks in three buckets, with journal pages between them."""
SCRIPT = Path(__file__).with_name("killed_loader.py")


def loader(settings: Settings, name: str, source: str, when: str) -> subprocess.CompletedProcess[str]:
    env = {
        **os.environ,
        "MILLRACE_CASSANDRA__KEYSPACE": settings.cassandra.keyspace,
        "PYTHONPATH": str(CHECKOUT),
    }
    command = [sys.executable, str(SCRIPT), name, source, f"run-{name}", when]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=240, check=False)


def again(store: Store, name: str, source: str) -> LoadReport:
    """The same load as the one that was killed."""
    return store.load(name, source, LoadOptions(chunk_bytes=1_000_000), run=f"run-{name}")


def check(
    store: Store, settings: Settings, name: str, source: str, table: pa.Table, when: str, *, seen: list[list[int]]
) -> str:
    """Killed at one call: nothing is visible, and the same command then loads everything, once. Its version."""
    done = loader(settings, name, source, when)
    assert done.returncode == -signal.SIGKILL, f"call {when}: {done.returncode} {done.stderr}"
    # Rows of what is visible: nothing, or the whole version once its row was sent.
    visible = [version.rows for version in store.catalogue.versions(name)]
    assert visible in seen, f"call {when}"
    assert (name in [info.name for info in store.datasets()]) is bool(visible)
    report = again(store, name, source)
    assert report.rows == ROWS, f"again after call {when}"
    assert len(store.catalogue.versions(name)) == 1
    assert store.dataset(name).to_table().equals(table), f"call {when}"
    return report.version


def sweep(
    store: Store, settings: Settings, parquet: Any, name: str, judge: Judge, which: Callable[[int], list[str]]
) -> None:
    source, table = parquet(ROWS)
    done = loader(settings, f"{name}_whole", source, "0")
    assert done.returncode == 0, done.stderr
    total = int(done.stdout)
    assert total > 15
    # The last call but one is the version's row, the last one says that its publisher is done.
    there = {f"{total - 1}after": [[], [ROWS]], f"{total}": [[ROWS]], f"{total}after": [[ROWS]]}
    with ThreadPoolExecutor(2) as pool:
        checks = {
            f"{name}_{when}": pool.submit(
                check, store, settings, f"{name}_{when}", source, table, when, seen=there.get(when, [[]])
            )
            for when in which(total)
        }
        labels = {each: checked.result() for each, checked in checks.items()}
    labels[f"{name}_whole"] = store.version(f"{name}_whole").label
    judge({each: Expected({label: table}, latest=label) for each, label in labels.items()}, fired=len(labels) > 2)


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("both_up")
def test_a_loader_killed_anywhere_leaves_nothing_visible_and_is_done_again(
    store: Store, settings: Settings, parquet: Any, name: str, judge: Judge
) -> None:
    """The first and the last calls (name, writer, ..., lists, version), and some between them."""

    def some(total: int) -> list[str]:
        calls = [1, 3, total // 3, 2 * total // 3, total - 4, total - 1, total]
        return [*(str(call) for call in calls), f"{total // 2}after", f"{total - 1}after", f"{total}after"]

    sweep(store, settings, parquet, name, judge, some)


@pytest.mark.full
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("both_up")
def test_a_loader_killed_at_each_single_call(
    store: Store, settings: Settings, parquet: Any, name: str, judge: Judge
) -> None:
    sweep(
        store,
        settings,
        parquet,
        name,
        judge,
        lambda total: [f"{call}{how}" for call in range(1, total + 1) for how in ("", "after")],
    )


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("both_up")
def test_what_a_killed_loader_left_is_gone_on_with(store: Store, settings: Settings, parquet: Any, name: str) -> None:
    """Killed near its end: of what it had written before the last bucket nothing is written again."""
    source, table = parquet(ROWS)
    total = int(loader(settings, f"{name}_whole", source, "0").stdout)
    assert loader(settings, name, source, str(total - 5)).returncode == -signal.SIGKILL
    report = again(store, name, source)
    assert store.dataset(name).to_table().equals(table)
    writers = {page.writer for page in store.catalogue.page_refs(store.version(name))}
    assert len(writers) == 2
    assert report.rows == ROWS
