"""``warm_cache`` on the real services, run by ``dag.test`` in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from millrace.api import Store
from tests.dags.events import EventLog, are, own
from tests.dags.test_ingest_in_process import task_states, xcoms

RunDag = Callable[..., Any]


@pytest.fixture
def name(store: Store, tmp_path: Path) -> Iterator[str]:
    """Load a dataset of two versions; return its name."""
    made = f"dags_{uuid4().hex[:8]}"
    for rows in (10, 20):
        (tmp_path / "t.csv").write_text("n\n" + "".join(f"{n}\n" for n in range(rows)))
        store.load(made, str(tmp_path / "t.csv"))
    yield made
    assert store.cache is not None
    store.cache.evict(made)


def cached_versions(store: Store, name: str) -> list[str]:
    assert store.cache is not None
    return [part.name for part in store.cache.parts() if part.dataset == name]


def test_versions_that_two_jobs_opened_are_warmed_within_the_budget(
    run_dag: RunDag, name: str, store: Store, events: EventLog
) -> None:
    assert store.cache is not None
    versions = store.versions(name)
    store.cache.opened(name, versions[0].label, "only")
    for job in ("one", "two"):
        store.cache.opened(name, versions[1].label, job)

    assert run_dag("warm_cache", budget_bytes=0) is not None
    assert cached_versions(store, name) == []
    run = run_dag("warm_cache")
    assert task_states(run) == {("warm_opened", -1): "success"}
    assert cached_versions(store, name) == [versions[1].reference]
    result = xcoms(run)["warm_opened", -1, "return_value"]
    assert versions[1].reference in [report["reference"] for report in result["warmed"]]
    assert result["reason"] == ""
    dataset = store.dataset(versions[1].reference)
    assert dataset.to_table().num_rows == 10
    assert (dataset.stats.redis, dataset.stats.cassandra) == (1, 0)
    events.of_run(run.run_id, lambda seen: are(own(seen, "warm_opened"), (1, "running"), (1, "succeeded")))


def test_a_load_caches_the_columns_of_the_form_in_the_raw_form(
    run_dag: RunDag, name: str, store: Store, inbox: Path
) -> None:
    (inbox / f"{name}.csv").write_text("a,b\n1,2\n")
    run = run_dag(dataset=name, source=f"{name}.csv", warm_form="raw", warm_columns=["b"])
    assert task_states(run)["warm", -1] == "success"
    assert store.cache is not None
    [part] = [part for part in store.cache.parts() if part.dataset == name]
    assert (part.form, part.columns, part.chunks) == ("raw", ("b",), 1)
