"""Loads and reads under faults, and the steps that most fault tests have in common."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta

import pyarrow as pa
import pytest

from local_stack.nodetool import nodetool
from local_stack.stack import Stack
from millrace.api import Store
from millrace.errors import StoreError
from millrace.load import LoadOptions, LoadReport
from millrace.settings import Settings
from tests.faults.checker import Expected
from tests.faults.conftest import wait_for

SMALL = LoadOptions(chunk_bytes=65_536)
APPEND = LoadOptions(chunk_bytes=65_536, mode="append")
ROWS = 33_000
"""1.3 MB of incompressible data."""
CHUNKS = 19
"""Chunks of a load of ``ROWS`` rows with ``SMALL``."""
SEED = int(os.environ.get("MILLRACE_TEST_SEED", "1"))


def load(settings: Settings, name: str, source: str, options: LoadOptions = SMALL, run: str = "") -> LoadReport:
    """Load with a separate session, as another process would."""
    with Store.connect(settings) as store:
        return store.load(name, source, options, run=run or f"run-{name}")


def slowly(settings: Settings, seconds: float) -> Settings:
    """Return the settings with a byte rate at which a load of ``ROWS`` rows takes about ``seconds``."""
    return settings.model_copy(
        update={"load": settings.load.model_copy(update={"bytes_per_s": int(ROWS * 40 / seconds)})}
    )


def impatient(settings: Settings, seconds: float) -> Settings:
    """Return the settings with a request timeout of ``seconds``."""
    return settings.model_copy(
        update={"cassandra": settings.cassandra.model_copy(update={"request_timeout_s": seconds})}
    )


class Busy:
    """Work that a separate thread repeats, with a separate store, until the block ends."""

    def __init__(self, settings: Settings, work: Callable[[Store, int], object], *, end_s: float = 120) -> None:
        self.done = 0
        self.longest_s = 0.0
        self.error: BaseException | None = None
        self._settings, self._work, self._end_s = settings, work, end_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            with Store.connect(self._settings) as store:
                while not self._over.is_set():
                    began = time.monotonic()
                    self._work(store, self.done)
                    self.longest_s = max(self.longest_s, time.monotonic() - began)
                    self.done += 1
        except BaseException as error:
            self.error = error

    def goes_on(self) -> None:
        """Return when a repetition that began after this call has finished."""
        before = self.done
        wait_for("one more", lambda: self.done > before + 1 or self.error)
        assert self.error is None, self.error

    def __enter__(self) -> Busy:
        self._thread.start()
        self.goes_on()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._over.set()
        self._thread.join(self._end_s)
        assert not self._thread.is_alive()
        assert self.error is None, self.error


def reading(settings: Settings, name: str, table: pa.Table) -> Busy:
    """Read the dataset repeatedly and compare it with ``table`` each time."""

    def read(store: Store, _number: int) -> None:
        assert store.dataset(name).to_table().equals(table)

    return Busy(settings, read)


def repaired(store: Store) -> None:
    """Wait until the driver sees both nodes up and a repair has written all missing replicas."""
    wait_for("both nodes up for the driver", lambda: not store.cassandra.missing())

    def paid() -> bool:
        try:
            return store.repair().ok
        except StoreError:
            return False  # a node still considers the other one down

    wait_for("repairing", paid)


@contextmanager
def without_hints(stack: Stack) -> Iterator[None]:
    """Disable hints on node 1, so that node 2 comes back without the rows written while it was down.

    Afterwards both nodes are up and hints are enabled again, even if the test fails.
    """
    try:
        assert nodetool(stack.node(1), ["disablehandoff"], capture=True).returncode == 0
        yield
    finally:
        stack.up(["cassandra"])
        assert nodetool(stack.node(1), ["enablehandoff"], capture=True).returncode == 0


def down_for(stack: Stack, number: int) -> bool:
    """Return whether this node considers another node down.

    Until it does, it keeps writes to the other node in its outbound queue and sends them when that node is back.
    """
    return "\nDN " in nodetool(stack.node(number), ["status"], capture=True).stdout


def every(tables: dict[str, pa.Table], labels: dict[str, str]) -> dict[str, Expected]:
    return {name: Expected({labels[name]: table}, latest=labels[name]) for name, table in tables.items()}


def garbage_of(store: Store, name: str, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Return the writers of the dataset that ``fsck`` would remove if it took every attempt for dead."""
    with monkeypatch.context() as patch:
        patch.setattr(store, "alive", timedelta(0))
        report = store.fsck()
    assert not report.removed_attempts
    return {item["attempt_id"] for item in report.garbage if item["dataset"] == name}


def named_by(store: Store, name: str) -> set[str]:
    """Return the writers that the only version of the dataset names, including its publisher."""
    (version,) = store.versions(name)
    whole = store.catalogue.with_content(version)
    return {version.attempt_id.hex, *(page.attempt_id.hex for page in store.catalogue.pages.refs(whole))}


def appends_at_once(
    settings: Settings, name: str, source: str, table: pa.Table, *, pairs: int, options: LoadOptions = APPEND
) -> tuple[dict[str, Expected], bool]:
    """Publish ``pairs`` pairs of concurrent appends; return the expected datasets and whether the appends conflicted.

    They conflicted if each pair has one parent and there were merges. Sequential appends have neither.
    """
    load(settings, name, source, options, run="first")
    barrier = threading.Barrier(2, timeout=120)

    def publish(run: str) -> list[str | None]:
        parents = []
        with Store.connect(settings) as store:
            for number in range(pairs):
                plan = store.plan(name, source, options, run=f"{run}-{number}")
                results = [store.load_split(plan, None)]
                barrier.wait()
                store.publish(plan, results)
                barrier.wait()
                parents.append(plan.parent)
        return parents

    with ThreadPoolExecutor(2) as pool:
        left, right = (pool.submit(publish, run) for run in ("left", "right"))
        siblings = left.result(1800) == right.result(1800)
    with Store.connect(settings) as store:
        latest = store.dataset(name)
        assert latest.count_rows() == table.num_rows * (1 + 2 * pairs)
        made = {}
        versions = store.versions(name)
        for version in versions:
            copies, rest = divmod(version.rows, table.num_rows)
            assert not rest
            made[version.label] = pa.concat_tables([table] * copies).combine_chunks()
        # The latest version holds each append exactly once.
        refs = [(ref.attempt_id, ref.bucket, ref.chunk) for ref in latest.refs()]
        assert len(refs) == len(set(refs))
        runs = {row.run for row in store.catalogue.attempts(name) if row.attempt_id in {ref[0] for ref in refs}}
        assert runs == {"first", *(f"{run}-{number}" for run in ("left", "right") for number in range(pairs))}
        met = siblings and any(version.mode == "merge" for version in versions)
        return {name: Expected(made, latest=latest.version.label)}, met
