"""The DAG of a declared source on the real services, run by ``dag.test`` in this process."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from local_stack.services.airflow import BUNDLES
from millrace.api import Store
from tests.dags.conftest import run_here
from tests.dags.posts import kept_posts
from tests.dags.test_ingest_in_process import task_states, xcoms

RunEntry = Callable[..., Any]
SKIPPED = {
    ("plan", -1): "success",
    ("load", -1): "skipped",
    ("verify", -1): "skipped",
    ("publish", -1): "success",
    ("warm", -1): "skipped",
}


@pytest.fixture
def name() -> str:
    return f"declared_{uuid4().hex[:8]}"


@pytest.fixture
def run_entry(
    airflow_database: None,
    connections: None,
    sinks_closed: None,
    sources_file: Path,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> RunEntry:
    """Return a function that declares one entry and runs its DAG in this process; it returns the DagRun."""
    from airflow.dag_processing.dagbag import DagBag

    from millrace.airflow.bundle import DeclaredSourcesBundle

    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST", json.dumps(BUNDLES[1:]))

    def run(dag_id: str = "", /, *, logical_date: datetime | None = None, **fields: Any) -> Any:
        # Each JSON document is YAML.
        sources_file.write_text(json.dumps({"sources": {name: fields}}))
        bundle = DeclaredSourcesBundle(name="declared-sources")
        bundle.initialize()
        bag = DagBag(str(bundle.path))
        assert bag.import_errors == {}
        return run_here(bag.dags[dag_id or f"ingest_{name}"], logical_date=logical_date)

    return run


def asset_events(run: Any) -> list[Any]:
    from airflow.models.asset import AssetEvent
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        return [
            event.extra
            for event in session.scalars(select(AssetEvent).where(AssetEvent.source_run_id == run.run_id)).all()
        ]


def test_an_entry_is_loaded_with_its_options_for_its_logical_date(
    run_entry: RunEntry, inbox: Path, name: str, store: Store
) -> None:
    (inbox / f"{name}-2026-11-28.csv").write_text("a;b\n1;NA\n2;x\n")
    run = run_entry(
        uri=f"{name}-{{date-1d:%Y-%m-%d}}.csv",
        mode="replace",
        delimiter=";",
        null_values=["NA"],
        column_types={"a": "int32"},
        warm=False,
        logical_date=datetime(2026, 11, 29, tzinfo=UTC),
    )
    assert run.state == "success"
    assert task_states(run)["warm", -1] == "skipped"
    assert store.dataset(name).to_table().to_pydict() == {"a": [1, 2], "b": [None, "x"]}
    report = xcoms(run)["publish", -1, "return_value"]
    version = store.version(name)
    assert report["run"] == f"ingest_{name}/{run.run_id}" == version.run
    (extra,) = asset_events(run)
    assert (extra["version"], extra["rows"], extra["rejected"]) == (version.label, 2, 0)
    assert extra["checksum"] == version.checksum.hex()


def test_an_unchanged_source_skips_the_tasks_and_creates_no_event(
    run_entry: RunEntry, inbox: Path, name: str, store: Store
) -> None:
    (inbox / f"{name}.csv").write_text("a\n1\n")
    version = xcoms(run_entry(uri=f"{name}.csv"))["publish", -1, "return_value"]["version"]
    run = run_entry(uri=f"{name}.csv")
    assert run.state == "success"
    assert task_states(run) == SKIPPED
    report = xcoms(run)["publish", -1, "return_value"]
    assert (report["skipped"], report["version"], report["rows"]) == ("unchanged", version, 0)
    assert asset_events(run) == []
    assert [each.label for each in store.versions(name)] == [version]


@pytest.fixture
def posts(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Serve the connection ``hook``; return the documents posted to it."""
    with kept_posts() as (port, documents):
        connection = {"conn_type": "http", "host": "127.0.0.1", "port": port, "password": "geheim"}
        monkeypatch.setenv("AIRFLOW_CONN_HOOK", json.dumps(connection))
        yield documents


def test_a_failed_run_is_posted_and_a_good_one_is_not(
    run_entry: RunEntry, inbox: Path, name: str, store: Store, posts: list[Any]
) -> None:
    run = run_entry(uri=f"{name}.csv", notify="hook")
    assert run.state == "failed"
    (post,) = posts
    assert (post["event"], post["source"]) == ("failed", name)
    assert post["report"]["run"] == f"ingest_{name}/{run.run_id}"
    assert "geheim" not in json.dumps(post)
    (inbox / f"{name}.csv").write_text("a\n1\n")
    assert run_entry(uri=f"{name}.csv", notify="hook").state == "success"
    assert len(posts) == 1


def test_a_late_source_is_posted_until_it_has_a_version(
    run_entry: RunEntry, inbox: Path, name: str, store: Store, posts: list[Any]
) -> None:
    fields = {"uri": f"{name}.csv", "notify": "hook", "expected_by": datetime.now(UTC).strftime("%H:%M")}
    assert run_entry(f"expect_{name}", **fields).state == "success"
    (post,) = posts
    assert (post["event"], post["source"], post["report"]["version"]) == ("late", name, None)
    (inbox / f"{name}.csv").write_text("a\n1\n")
    run_entry(**fields)
    run = run_entry(f"expect_{name}", **fields)
    assert xcoms(run)["check", -1, "return_value"]["late"] is False
    assert len(posts) == 1


def test_parsing_two_hundred_entries_takes_less_than_a_second_each(airflow_database: None, sources_file: Path) -> None:
    from airflow.dag_processing.dagbag import DagBag

    from millrace.airflow.bundle import DeclaredSourcesBundle

    fields = {"uri": "a.csv", "schedule": "5 2 * * *", "max_bad_rows": "1%", "owner": "team"}
    sources_file.write_text(json.dumps({"sources": {f"s{number}": fields for number in range(200)}}))
    bundle = DeclaredSourcesBundle(name="declared-sources")
    bundle.initialize()
    bag = DagBag(str(bundle.path))
    assert len(bag.dags) == 200
    assert max(stat.duration.total_seconds() for stat in bag.dagbag_stats) < 1
