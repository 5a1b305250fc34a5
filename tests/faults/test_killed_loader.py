"""``kill -9`` of the loader at any call leaves no partial version, and the same load then succeeds."""

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

from local_stack.settings import PYTHON_PATH
from millrace.api import Store
from millrace.load import LoadOptions, LoadReport
from millrace.settings import Settings
from tests.faults.checker import Expected
from tests.faults.conftest import Judge, stored_on
from tests.faults.loads import garbage_of, named_by

ROWS = 250_000
"""10 MB: about ten chunks in three buckets, with journal pages between them."""
SCRIPT = Path(__file__).with_name("killed_loader.py")
VERSION = "write the version"
CHUNK = "write chunk"
JOURNAL = "write page -1"
PAGE = "write page 0"


def loader(settings: Settings, name: str, source: str, when: str) -> tuple[int, list[str]]:
    """Run the loader in a process; return its exit code and the calls that it began."""
    env = {
        **os.environ,
        "MILLRACE_CASSANDRA__KEYSPACE": settings.cassandra.keyspace,
        "PYTHONPATH": PYTHON_PATH,
    }
    command = [sys.executable, str(SCRIPT), name, source, f"run-{name}", when]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode in (0, -signal.SIGKILL), f"call {when}: {done.returncode} {done.stderr}"
    return done.returncode, done.stdout.splitlines()


def whole(settings: Settings, name: str, source: str) -> list[str]:
    """Return every call of a load that is not killed."""
    code, calls = loader(settings, name, source, "0")
    assert code == 0
    assert calls[0].startswith("read")
    assert len(calls) > 25
    return calls


def killed(settings: Settings, name: str, source: str, when: str) -> list[str]:
    """Return the calls of a load that is killed at call ``when``."""
    code, calls = loader(settings, name, source, when)
    assert code == -signal.SIGKILL, f"call {when}: there were only {len(calls)}"
    return calls


def again(store: Store, name: str, source: str) -> LoadReport:
    """Repeat the load that was killed."""
    return store.load(name, source, LoadOptions(chunk_bytes=1_000_000), run=f"run-{name}")


def check(store: Store, settings: Settings, name: str, source: str, table: pa.Table, when: str) -> tuple[str, str]:
    """Kill a load at one call, check that nothing is visible, and repeat it; return its version and that call."""
    calls = killed(settings, name, source, when)
    # The one exception: once its row is acknowledged, the complete version is visible.
    answered = calls if when.endswith("after") else calls[:-1]
    published = any(call.startswith(VERSION) for call in answered)
    visible = [version.rows for version in store.catalogue.versions(name)]
    assert visible == [ROWS] * published, f"call {when}, {calls[-1]}"
    assert (name in [info.name for info in store.datasets()]) is published
    report = again(store, name, source)
    assert report.rows == ROWS, f"again after call {when}"
    assert len(store.catalogue.versions(name)) == 1
    assert store.dataset(name).to_table().equals(table), f"call {when}"
    return report.version, calls[-1]


def sweep(
    store: Store, settings: Settings, parquet: Any, name: str, judge: Judge, which: Callable[[list[str]], list[str]]
) -> None:
    source, table = parquet(ROWS)
    calls = whole(settings, f"{name}_whole", source)
    with ThreadPoolExecutor(2) as pool:
        checks = {
            f"{name}_{when}": pool.submit(check, store, settings, f"{name}_{when}", source, table, when)
            for when in which(calls)
        }
        done = {each: checked.result() for each, checked in checks.items()}
    labels = {each: label for each, (label, _) in done.items()}
    labels[f"{name}_whole"] = store.version(f"{name}_whole").label
    # Kills hit queries, chunk and page writes, and the version row.
    fired = all(any(call.startswith(kind) for _, call in done.values()) for kind in ("read", CHUNK, PAGE, VERSION))
    judge({each: Expected({label: table}, latest=label) for each, label in labels.items()}, fired=fired)


def number(calls: list[str], begins: str, nth: int = 0) -> int:
    """Return the number of the ``nth`` call of a kind, which counts from 0."""
    return [at for at, call in enumerate(calls, 1) if call.startswith(begins)][nth]


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("both_up")
def test_a_loader_killed_at_any_kind_of_call_leaves_no_partial_version_and_can_be_repeated(
    store: Store, settings: Settings, parquet: Any, name: str, judge: Judge
) -> None:
    """It is killed at a few calls of each kind, from the first call to the last."""

    def some(calls: list[str]) -> list[str]:
        version, last = number(calls, VERSION), len(calls)
        before = [1, number(calls, "write the name"), number(calls, CHUNK, 5), version - 2, version, version + 1, last]
        answered = [number(calls, kind) for kind in ("write the attempt's", CHUNK, JOURNAL, PAGE)]
        return [*map(str, before), *(f"{call}after" for call in (*answered, version - 1, version, last))]

    sweep(store, settings, parquet, name, judge, some)


@pytest.mark.full
@pytest.mark.timeout(2400)
@pytest.mark.usefixtures("both_up")
def test_a_loader_killed_at_each_single_call_leaves_no_partial_version_and_can_be_repeated(
    store: Store, settings: Settings, parquet: Any, name: str, judge: Judge
) -> None:
    sweep(
        store,
        settings,
        parquet,
        name,
        judge,
        lambda calls: [f"{call}{how}" for call in range(1, len(calls) + 1) for how in ("", "after")],
    )


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("both_up")
def test_a_retry_reuses_the_complete_buckets_of_a_killed_loader(
    store: Store, settings: Settings, parquet: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is killed before its last page: no chunk before the last bucket is written again."""
    source, table = parquet(ROWS)
    calls = whole(settings, f"{name}_whole", source)
    killed(settings, name, source, str(number(calls, PAGE)))
    (dead,) = store.catalogue.attempts(name)
    host = store.cassandra.hosts()[0]
    left = stored_on(store, host, dead)
    assert garbage_of(store, name, monkeypatch) == {dead.attempt_id.hex}

    report = again(store, name, source)
    assert report.rows == ROWS
    assert store.dataset(name).to_table().equals(table)
    refs = list(store.dataset(name).refs())
    kept = [ref for ref in refs if ref.attempt_id == dead.attempt_id]
    (second,) = {ref.attempt_id for ref in refs} - {dead.attempt_id}
    (row,) = [row for row in store.catalogue.attempts(name) if row.attempt_id == second]
    assert 0 < len(kept) < len(refs) == report.chunks
    assert stored_on(store, host, dead) == left, "written by the first attempt, and never again"
    fresh = {chunk for _, chunk, _ in stored_on(store, host, row)}
    assert len(fresh) == len(refs) - len(kept)
    assert {chunk for _, chunk, _ in left} > {ref.chunk for ref in kept}
    # The last bucket of the dead attempt has no page, but is no garbage: the version names its writer.
    assert named_by(store, name) >= {dead.attempt_id.hex, second.hex}
    assert garbage_of(store, name, monkeypatch) == set()


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("both_up")
def test_unusable_chunks_of_a_killed_loader_are_reported_by_fsck(
    store: Store, settings: Settings, parquet: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is killed before its first page: the second attempt starts anew, and only the first one is garbage."""
    source, table = parquet(ROWS)
    calls = whole(settings, f"{name}_whole", source)
    killed(settings, name, source, f"{number(calls, CHUNK, 2)}after")
    (dead,) = store.catalogue.attempts(name)
    assert stored_on(store, store.cassandra.hosts()[0], dead)
    assert garbage_of(store, name, monkeypatch) == {dead.attempt_id.hex}
    again(store, name, source)
    assert store.dataset(name).to_table().equals(table)
    assert dead.attempt_id.hex not in named_by(store, name)
    assert garbage_of(store, name, monkeypatch) == {dead.attempt_id.hex}
