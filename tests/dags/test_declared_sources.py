"""Declared sources in a real standalone Airflow: a DAG for each entry, by its own schedule, whatever else is broken."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from local_stack.airflow_client import AirflowClient
from local_stack.stack import Stack
from millrace.api import Store
from millrace.errors import StackError
from tests.dags.declared import ALL_S, MENDED_S, ROWS, RUN_S, Sources, until
from tests.dags.posts import Posts, posts_of_airflow


@pytest.fixture
def sources(full_stack: Stack, airflow: AirflowClient, sources_file: Path) -> Iterator[Sources]:
    made = Sources(sources_file, airflow, f"t{uuid4().hex[:6]}_")
    yield made
    # No DAG of this test may run during the next one.
    sources_file.write_text("sources: {}")
    until(lambda: not made.dags(), MENDED_S, made.dags)


@pytest.fixture
def posts(airflow: AirflowClient) -> Iterator[Posts]:
    with posts_of_airflow(airflow) as served:
        yield served


def test_broken_entries_harm_no_other_and_are_mended_within_a_minute(
    sources: Sources, inbox: Path, airflow: AirflowClient
) -> None:
    (inbox / "good.csv").write_text(ROWS)
    good: dict[str, Any] = {name: {"uri": "good.csv"} for name in "abcde"}
    broken = {
        "x": {"uri": "good.csv", "schedule": "5 * *"},
        "y": {"uri": "good.csv", "kepe": 3},
        "z": {"uri": "https://key:geheim@example.org/z.csv"},
    }
    sources.write(**good, **broken)
    until(lambda: len(sources.dags()) == 5 and len(sources.errors()) == 3, MENDED_S, lambda: sources.errors())
    assert sources.dags() == set("abcde")
    errors = sources.errors()
    for name, line, field in (("x", 7, "schedule"), ("y", 8, "kepe"), ("z", 9, "uri")):
        error = errors[f"ingest_{sources.prefix}{name}.py"]
        assert f"{sources.path}:{line}: sources.{sources.prefix}{name}.{field} " in error
    assert "geheim" not in str(errors)

    sources.write(**good, **{name: {"uri": "good.csv"} for name in broken})
    until(lambda: len(sources.dags()) == 8 and not sources.errors(), MENDED_S, lambda: sources.errors())

    sources.path.write_text("sources: {a: [")
    until(sources.errors, MENDED_S, lambda: "no error")
    # Each file is parsed again meanwhile, and a run parses its file, too.
    run_id = airflow.trigger(f"ingest_{sources.prefix}a", {})
    assert airflow.wait_for_run(f"ingest_{sources.prefix}a", run_id, timeout_s=RUN_S).state == "success"
    assert list(sources.errors()) == ["sources_file_error.py"]
    assert f"{sources.path}:2: this is not YAML" in sources.errors()["sources_file_error.py"]
    assert sources.dags() == set("abcdexyz")

    sources.write(a=good["a"])
    until(lambda: sources.dags() == {"a"} and not sources.errors(), MENDED_S, lambda: sources.errors())


def test_entries_run_by_their_own_schedule_and_after_other_datasets(
    sources: Sources, inbox: Path, store: Store, airflow: AirflowClient, posts: Posts
) -> None:
    first, second = f"{sources.prefix}first", f"{sources.prefix}second"
    (inbox / f"{first}.csv").write_text(ROWS)
    sources.write(
        first={"uri": f"{first}.csv", "every": "1h"},
        second={"uri": f"{second}.csv", "after": first, "notify": posts.connection},
    )
    scheduled = sources.run_of("first", "scheduled")
    assert scheduled["state"] == "success"
    assert store.version(first).run == f"ingest_{first}/{scheduled['dag_run_id']}"
    triggered = sources.run_of("second", "asset_triggered")
    assert triggered["state"] == "failed"  # its file does not exist
    until(lambda: posts.documents, RUN_S, lambda: "nothing was posted")
    assert posts.documents[0]["source"] == second
    assert posts.documents[0]["report"]["run"] == f"ingest_{second}/{triggered['dag_run_id']}"
    tasks = airflow.task_instances(f"ingest_{second}", triggered["dag_run_id"])
    tries = {task["task_id"]: task["try_number"] for task in tasks}
    assert tries["plan"] == 1

    (inbox / f"{second}.csv").write_text(ROWS)
    run_id = airflow.trigger(f"ingest_{second}", {})
    result = airflow.wait_for_run(f"ingest_{second}", run_id, timeout_s=RUN_S)
    assert (result.state, result.results["publish"]["rows"]) == ("success", 2)


ENTRIES = 6
"""Entries of each kind that a backfill may be started for: SQLite refuses some of them."""


def backfilled(sources: Sources, airflow: AirflowClient, names: Sequence[str]) -> str:
    """Start a backfill of three days for the first of these entries that Airflow accepts, and return its name.

    While another program writes to its SQLite database, Airflow refuses a backfill and leaves it half created.
    """
    for name in names:
        body = {
            "dag_id": f"ingest_{sources.prefix}{name}",
            "from_date": "2026-11-01T00:00:00Z",
            "to_date": "2026-11-03T23:00:00Z",
            "max_active_runs": 1,
        }
        try:
            airflow.post("/api/v2/backfills", body)
        except StackError as error:
            if "Database is locked" not in str(error):
                raise
            refusal = error
            time.sleep(1)  # the other writer is done by then, and nothing tells when it is
        else:
            return name
    raise refusal


def test_a_backfill_loads_each_day_once_and_is_refused_for_a_replace(
    sources: Sources, inbox: Path, store: Store, airflow: AirflowClient
) -> None:
    file = f"{sources.prefix}daily"
    for day in (1, 2, 3):
        (inbox / f"{file}-2026-11-0{day}.csv").write_text(f"a\n{day}\n")
    days, replaces = ([f"{kind}{number}" for number in range(ENTRIES)] for kind in ("daily", "whole"))
    sources.write(
        **{name: {"uri": f"{file}-{{date:%Y-%m-%d}}.csv", "schedule": "0 2 * * *"} for name in days},
        **{name: {"uri": f"{file}-2026-11-01.csv", "schedule": "0 2 * * *"} for name in replaces},
    )
    until(lambda: len(sources.dags()) == 2 * ENTRIES, MENDED_S, sources.errors)
    daily, whole = (backfilled(sources, airflow, names) for names in (days, replaces))

    def ended(name: str) -> list[str]:
        runs = [run for run in sources.runs(name) if run["run_type"] == "backfill"]
        return [run["state"] for run in runs if run["state"] in ("success", "failed")]

    until(lambda: len(ended(daily)) == len(ended(whole)) == 3, 3 * RUN_S, lambda: sources.runs(daily))
    assert ended(daily) == ["success"] * 3
    rows = store.dataset(f"{sources.prefix}{daily}").to_table()
    assert sorted(rows.column("a").to_pylist()) == [1, 2, 3]
    assert ended(whole) == ["failed"] * 3
    # After a backfill Airflow starts the run of the last time of the schedule, too. That run may load the file.
    dataset = f"{sources.prefix}{whole}"
    if dataset in [info.name for info in store.datasets()]:
        assert not [version.run for version in store.versions(dataset) if "backfill" in version.run]


def test_two_hundred_entries_are_there_within_four_minutes(sources: Sources) -> None:
    sources.write(**{f"s{number}": {"uri": "good.csv", "max_bad_rows": "1%"} for number in range(200)})
    began = time.monotonic()
    until(lambda: len(sources.dags()) == 200, ALL_S, lambda: len(sources.dags()))
    print(f"200 entries after {time.monotonic() - began:.0f} s")
