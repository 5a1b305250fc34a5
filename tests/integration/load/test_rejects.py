"""Rows that do not fit, on the real nodes: set aside within a budget, refused beyond it, and replayed once."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from millrace.api import Store
from millrace.errors import BadRowsError, UsageError
from millrace.load import LoadOptions
from millrace.load.version_row import VersionRowWriter
from millrace.settings import Settings
from millrace.sources import BadRowBudget, SourceOptions

ROWS = 20_000
BAD = 200
OPTIONS = LoadOptions(
    bad_rows=BadRowBudget.of("1%"), source=SourceOptions(column_types=(("n", "int64"),), split_bytes=40_000)
)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return a CSV in which one row of a hundred has a double in its column of integers."""
    path = tmp_path / "numbers.csv"
    path.write_text("n,text\n" + "".join(f"{n}{'' if n % 100 else '.5'},text {n}\n" for n in range(ROWS)))
    return path


@pytest.fixture
def name() -> str:
    return f"rejects_{uuid4().hex[:8]}"


def numbers(store: Store, reference: str) -> list[float]:
    return sorted(store.dataset(reference).to_table(["n"])["n"].to_pylist())


def lines(store: Store, reference: str) -> list[int]:
    return store.dataset(reference).to_table(["line"])["line"].to_pylist()  # type: ignore[no-any-return]


def test_rejects_within_the_budget_are_replayed_once(store: Store, source: Path, name: str) -> None:
    plan = store.plan(name, str(source), OPTIONS)
    results = [store.load_split(plan, split.index) for split in plan.source.splits]
    report = store.publish(plan, results)
    assert len(results) > 3
    assert (report.rows, report.rejected, report.degraded) == (ROWS - BAD, BAD, False)
    assert lines(store, str(report.rejects)) == list(range(2, ROWS + 2, 100))
    first = store.version(name)
    replay = store.replay(name, column_types=[("n", "float64")])
    assert replay.load is not None
    assert replay.load.rows == BAD
    assert numbers(store, name) == [n if n % 100 else n + 0.5 for n in range(ROWS)]
    again = store.replay(first.reference)
    assert again.load is None
    assert "nothing is left" in again.message
    store.load(name, str(source), LoadOptions(source=SourceOptions(columns=("text",))))
    with pytest.raises(UsageError, match="replaced them"):
        store.replay(first.reference)
    store.delete(name, whole=True, now=True)
    assert not [info for info in store.datasets() if info.name.startswith(name)]


def test_a_load_over_its_budget_makes_only_a_version_of_its_rejects(store: Store, source: Path, name: str) -> None:
    options = LoadOptions(bad_rows=BadRowBudget.of("0.9%"), source=OPTIONS.source)
    with pytest.raises(BadRowsError) as caught:
        store.load(name, str(source), options)
    assert len(caught.value.context["reasons"]) == 10
    assert store.version(f"{name}__rejects").rows == BAD
    assert not [info for info in store.datasets() if info.name == name]
    with pytest.raises(UsageError, match="a load that failed"):
        store.replay(f"{name}__rejects")


def _load_and_die(settings: Settings, source: str, name: str) -> None:
    """Load the source, and kill this process before the row of the dataset's own version is written."""
    write = VersionRowWriter.write

    def killed(steps: VersionRowWriter, plan: Any) -> Any:
        if plan.dataset == name:
            os.kill(os.getpid(), signal.SIGKILL)
        return write(steps, plan)

    VersionRowWriter.write = killed  # type: ignore[method-assign]
    with Store.connect(settings) as store:
        store.load(name, source, OPTIONS, run="run")


def test_a_load_killed_between_its_two_versions_keeps_each_reject_once(store: Store, source: Path, name: str) -> None:
    process = multiprocessing.get_context("spawn").Process(
        target=_load_and_die, args=(store.settings, str(source), name)
    )
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    assert len(store.versions(f"{name}__rejects")) == 1
    report = store.load(name, str(source), OPTIONS, run="run")
    assert report.rows == ROWS - BAD
    assert len(store.versions(f"{name}__rejects")) == 1
    assert lines(store, str(report.rejects)) == list(range(2, ROWS + 2, 100))
