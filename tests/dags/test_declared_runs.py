"""Runs of declared sources by their own schedule in a real Airflow: new files, an unchanged source, and bad rows.

Each entry names a connection, to which its failures, rejects and late loads are posted.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from local_stack.airflow_client import AirflowClient
from local_stack.stack import Stack
from millrace.api import Store
from millrace.errors import MillraceError, UsageError
from millrace.load import LoadOptions
from millrace.settings import load_settings
from millrace.sources import SourceOptions
from tests.dags.conftest import SOURCES_FILE
from tests.dags.declared import MENDED_S, Sources, until
from tests.dags.posts import Posts, posts_of_airflow

STEP_S = 300
"""Bound of one step: the parsing of a changed entry, the rest of a minute, and a run beside others on two cores."""
OFTEN: dict[str, Any] = {"schedule": "* * * * *", "mode": "incremental", "max_bad_rows": 2, "warm": False}
Runs = dict[str, dict[str, Any]]


def put(path: Path, first: int, *last: str, rows: int = 1000) -> None:
    """Write a CSV with ids from ``first``; ``last`` are the values of ``n`` in its last rows."""
    values = [*map(str, range(rows - len(last))), *last]
    path.parent.mkdir(exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text("id,n\n" + "".join(f"{first + row},{value}\n" for row, value in enumerate(values)))
    partial.replace(path)


def ids(store: Store, name: str) -> list[int]:
    return sorted(store.dataset(name).to_table(columns=["id"]).column("id").to_pylist())


def numbers(store: Store, name: str) -> list[int]:
    return sorted(version.number for version in store.versions(name))


class Story:
    """The declared sources of this module, and the runs of its steps by name."""

    def __init__(self, sources: Sources, inbox: Path, store: Store, posts: Posts) -> None:
        self.sources = sources
        self.inbox = inbox
        self.store = store
        self.posts = posts
        self.runs: Runs = {}
        self._entries: Runs = {}

    def name(self, entry: str) -> str:
        return f"{self.sources.prefix}{entry}"

    def declare(self, **entries: dict[str, Any]) -> None:
        """Replace entries or add them."""
        self._entries |= {name: {**fields, "notify": self.posts.connection} for name, fields in entries.items()}
        self.sources.write(**self._entries)

    def file(self, entry: str, letter: str) -> Path:
        return self.inbox / self.name(entry) / f"{letter}.csv"

    def posted(self, entry: str) -> list[tuple[str, dict[str, Any]]]:
        """Return event and report of each post about the entry."""
        posts = [post for post in self.posts.documents if post["source"] == self.name(entry)]
        return [(post["event"], post["report"]) for post in posts]

    def step(self, step: str, entry: str, condition: Callable[[dict[str, Any]], bool]) -> None:
        """Wait for an ended run of the entry that meets the condition, and keep it with its result."""

        def ended() -> dict[str, Any] | None:
            runs = [run for run in self.sources.runs(entry) if run["state"] in ("success", "failed")]
            return next(filter(condition, map(self._with_result, runs)), None)

        self.runs[step] = until(ended, STEP_S, lambda: (step, self.sources.runs(entry), self.sources.errors()))

    def _with_result(self, run: dict[str, Any]) -> dict[str, Any]:
        waited = self.sources.airflow.wait_for_run(run["dag_id"], run["dag_run_id"], timeout_s=60)
        return {**run, "result": waited.results.get("publish")}


def of_version(number: int) -> Callable[[dict[str, Any]], bool]:
    """Return the condition that a run made this version."""

    def has_version(run: dict[str, Any]) -> bool:
        result = run["result"]
        return bool(result) and not result["skipped"] and result["version"].startswith(f"{number}-")

    return has_version


def is_skipped(run: dict[str, Any]) -> bool:
    return bool(run["result"]) and bool(run["result"]["skipped"])


def is_failed(run: dict[str, Any]) -> bool:
    return bool(run["state"] == "failed")


@pytest.fixture(scope="module")
def story(full_stack: Stack, airflow: AirflowClient) -> Iterator[Story]:
    """Run all steps. Three datasets run side by side, so that they share the minutes between scheduled runs."""
    settings, file = load_settings(), Path(os.environ[SOURCES_FILE])
    with Store.connect(settings) as store, posts_of_airflow(airflow) as posts:
        sources = Sources(file, airflow, f"r{uuid4().hex[:6]}_")
        story = Story(sources, Path(settings.sources.roots[0]), store, posts)
        run_steps(story, store)
        yield story
        file.write_text("sources: {}")
        until(lambda: not sources.dags(), MENDED_S, sources.dags)
        file.unlink()


def run_steps(story: Story, store: Store) -> None:
    uri = {name: f"{story.name(name)}/*.csv" for name in ("fresh", "wrong", "some")}
    # Two datasets have two versions before their first scheduled run.
    for entry in ("wrong", "some"):
        for number, letter in enumerate("ab"):
            put(story.file(entry, letter), 1000 * number)
            store.load(story.name(entry), str(story.file(entry, letter)), LoadOptions(mode="incremental"))
    put(story.file("wrong", "c"), 2000, "0.5", "1.5", "2.5")
    put(story.file("some", "c"), 2000, "0.5", "1.5")
    put(story.file("fresh", "a"), 0)
    # Late enough that its DAG is there before, and soon enough that the other steps take longer.
    soon = datetime.now(UTC) + timedelta(minutes=2)
    story.declare(
        late={"uri": "never.csv", "expected_by": f"{soon:%H:%M}"},
        fresh={**OFTEN, "uri": uri["fresh"]},
        wrong={**OFTEN, "uri": uri["wrong"]},
        some={**OFTEN, "uri": uri["some"]},
        then={"uri": f"{story.name('fresh')}/a.csv", "after": story.name("fresh"), "warm": False},
    )
    for entry in ("fresh", "wrong", "some", "then", "late"):
        sources = story.sources
        sources.airflow.wait_for_dag(f"ingest_{sources.prefix}{entry}", timeout_s=MENDED_S)
    story.step("first", "fresh", of_version(1))
    put(story.file("fresh", "b"), 1000)
    story.step("within", "some", of_version(3))
    story.step("over", "wrong", is_failed)
    story.runs["over"]["versions"] = numbers(store, story.name("wrong"))
    story.declare(
        some={"uri": uri["some"], "mode": "incremental"},
        wrong={**OFTEN, "uri": uri["wrong"], "contract": "evolve", "column_types": {"n": "double"}},
    )
    story.step("second", "fresh", of_version(2))
    story.step("right", "wrong", of_version(3))
    story.declare(wrong={"uri": uri["wrong"], "mode": "incremental"})
    story.step("unchanged", "fresh", is_skipped)
    story.step("after", "then", of_version(1))
    until(lambda: story.posted("late"), STEP_S, lambda: story.posts.documents)


def test_a_file_that_appears_is_loaded_by_the_schedule(story: Story, store: Store) -> None:
    run = story.runs["first"]
    assert (run["run_type"], run["state"], run["result"]["rows"]) == ("scheduled", "success", 1000)
    assert store.version(f"{story.name('fresh')}@1").run == f"{run['dag_id']}/{run['dag_run_id']}"


def test_a_second_file_makes_a_version_that_shares_the_chunks_of_the_first(story: Story, store: Store) -> None:
    name, run = story.name("fresh"), story.runs["second"]
    assert (run["run_type"], run["result"]["rows"], run["result"]["total_rows"]) == ("scheduled", 1000, 2000)
    assert ids(store, name) == list(range(2000))
    first, second = (set(store.catalogue.pages.refs(store.version(f"{name}@{number}"))) for number in (1, 2))
    assert first < second


def test_an_unchanged_source_is_skipped_and_nothing_of_it_is_read(
    story: Story, store: Store, airflow: AirflowClient
) -> None:
    run = story.runs["unchanged"]
    assert (run["run_type"], run["state"]) == ("scheduled", "success")
    assert (run["result"]["skipped"], run["result"]["rows"]) == ("unchanged", 0)
    assert run["result"]["version"] == store.version(story.name("fresh")).label
    states = {task["task_id"]: task["state"] for task in airflow.task_instances(run["dag_id"], run["dag_run_id"])}
    assert states == {
        "plan": "success", "load": "skipped", "verify": "skipped", "publish": "success", "warm": "skipped",
    }  # fmt: skip
    assert numbers(store, story.name("fresh")) == [1, 2]


def test_a_new_version_starts_the_source_that_comes_after_it(story: Story, airflow: AirflowClient) -> None:
    run = story.runs["after"]
    assert (run["run_type"], run["result"]["rows"]) == ("asset_triggered", 1000)
    # The skipped run emitted no event on the asset, so it started no run.
    made = [run for run in story.sources.runs("fresh") if run["state"] == "success"]
    assert len(story.sources.runs("then")) <= 2 < len(made)


def test_a_load_over_its_budget_fails_without_a_retry_and_keeps_the_rejects(
    story: Story, store: Store, airflow: AirflowClient
) -> None:
    run, name = story.runs["over"], story.name("wrong")
    tries = [task["try_number"] for task in airflow.task_instances(run["dag_id"], run["dag_run_id"])]
    assert max(tries) == 1
    assert (run["run_type"], run["versions"]) == ("scheduled", [1, 2])
    rejects = store.dataset(f"{name}__rejects").to_table().to_pylist()
    assert [(reject["line"], reject["column"]) for reject in rejects] == [(999, "n"), (1000, "n"), (1001, "n")]
    report = store.run_report(f"{run['dag_id']}/{run['dag_run_id']}")
    assert (report.state, report.dataset) == ("failed", name)
    assert report.error is not None


def test_the_right_type_loads_each_row_once(story: Story, store: Store) -> None:
    run, name = story.runs["right"], story.name("wrong")
    assert (run["run_type"], run["result"]["rows"], run["result"]["rejected"]) == ("scheduled", 1000, 0)
    assert ids(store, name) == list(range(3000))


def test_a_load_within_its_budget_has_rejects_that_are_replayed_once(story: Story, store: Store) -> None:
    run, name = story.runs["within"], story.name("some")
    assert (run["run_type"], run["result"]["rows"], run["result"]["rejected"]) == ("scheduled", 998, 2)
    assert run["result"]["rejects"].startswith(f"{name}__rejects@")
    assert ids(store, name) == list(range(2998))

    replayed = store.replay(f"{name}@3", column_types=[("n", "double")])
    assert replayed.load is not None
    assert (replayed.load.rows, replayed.load.rejected) == (2, 0)
    assert ids(store, name) == list(range(3000))
    again = store.replay(f"{name}@3", column_types=[("n", "string")])
    assert again.load is None
    assert numbers(store, name) == [1, 2, 3, 4]

    store.load(name, str(story.file("some", "a")), LoadOptions(source=SourceOptions()))
    with pytest.raises(UsageError, match="replace"):
        store.replay(f"{name}@3")


def test_good_and_skipped_runs_are_not_posted(story: Story) -> None:
    assert {story.runs[step]["state"] for step in ("first", "second", "unchanged", "after")} == {"success"}
    assert story.posted("fresh") == story.posted("then") == []


def test_a_failed_run_and_one_with_rejects_are_posted_once(story: Story) -> None:
    failed, within = story.runs["over"], story.runs["within"]
    runs = {run["dag_run_id"]: run["state"] for run in story.sources.runs("wrong")}
    failures = {f"{failed['dag_id']}/{run_id}" for run_id, state in runs.items() if state == "failed"}
    posted = story.posted("wrong")
    assert {event for event, _ in posted} == {"failed"}
    assert sorted(report["run"] for _, report in posted) == sorted(failures)
    assert {report["error"]["class"] for _, report in posted} == {"BadRowsError"}
    ((event, report),) = story.posted("some")
    assert (event, report["run"]) == ("rejects", f"{within['dag_id']}/{within['dag_run_id']}")
    assert (report["rejected"], report["rejects"]) == (2, within["result"]["rejects"])


def test_a_source_without_a_version_at_the_expected_time_is_posted_by_its_schedule(story: Story) -> None:
    ((event, report),) = story.posted("late")
    dag_id, _, run_id = report["run"].partition("/")
    assert (event, report["version"], dag_id) == ("late", None, f"expect_{story.name('late')}")
    assert run_id.startswith("scheduled__")


def test_the_store_has_the_report_of_each_run(story: Story, store: Store) -> None:
    for step, run in story.runs.items():
        report = json.loads(json.dumps(store.run_report(f"{run['dag_id']}/{run['dag_run_id']}").to_json()))
        if run["result"]:
            assert {**report, "stages": {}} == {**run["result"], "stages": {}}, step
        else:
            assert report["state"] == "failed", step
    with pytest.raises(MillraceError):
        store.run_report(f"ingest_{story.name('fresh')}/never")
