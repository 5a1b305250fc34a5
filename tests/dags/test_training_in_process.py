"""The DAGs of training data on the real services, run by ``dag.test`` in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from local_stack.services.airflow import BUNDLES
from millrace.api import Store
from tests.dags.conftest import run_here
from tests.dags.events import EventLog, has_reported, own
from tests.dags.test_declared_in_process import asset_events
from tests.dags.test_ingest_in_process import task_states, xcoms
from tests.dags.trained import entry_of, trips, weather, write_function

RunEntry = Callable[..., Any]
RunDag = Callable[..., Any]
ROWS = 3000
TASKS = ("plan", "prepare", "verify", "publish", "warm")


def states(run: Any) -> dict[str, str]:
    return {name: state for (name, _), state in task_states(run).items()}


@pytest.fixture
def name() -> str:
    return f"late_{uuid4().hex[:8]}"


@pytest.fixture
def entry(training_file: Path, name: str) -> dict[str, Any]:
    """Declare the training data, whose inputs do not exist yet; return the fields of the entry."""
    fields = entry_of(f"{name}_trips", f"{name}_weather")
    training_file.write_text(json.dumps({"training": {name: fields}}))
    write_function(training_file.parent)
    return fields


@pytest.fixture
def loaded(store: Store, entry: dict[str, Any], name: str) -> Store:
    store.load(f"{name}_trips", trips(ROWS))
    store.load(f"{name}_weather", weather(ROWS // 60 + 1))
    return store


@pytest.fixture
def run_entry(
    airflow_database: None,
    connections: None,
    sinks_closed: None,
    entry: dict[str, Any],
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> RunEntry:
    """Return a function that runs a DAG of the entry in this process and returns its DagRun."""
    from airflow.dag_processing.dagbag import DagBag

    from millrace.airflow.bundle import DeclaredTrainingBundle

    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST", json.dumps(BUNDLES[2:]))

    def run(prefix: str) -> Any:
        bundle = DeclaredTrainingBundle(name="declared-training")
        bundle.initialize()
        bag = DagBag(str(bundle.path))
        assert bag.import_errors == {}
        return run_here(bag.dags[f"{prefix}_{name}"])

    return run


def test_an_entry_is_prepared_and_trained_with_one_event_each(
    run_entry: RunEntry, loaded: Store, name: str, events: EventLog
) -> None:
    prepared = run_entry("prepare")
    assert states(prepared) == dict.fromkeys(TASKS, "success")
    report = xcoms(prepared)["publish", -1, "return_value"]
    version = loaded.version(name)
    assert (report["state"], report["version"], report["run"]) == (
        "succeeded", version.label, f"prepare_{name}/{prepared.run_id}",
    )  # fmt: skip
    assert report["training"]["rows_in"] == ROWS
    assert [event["version"] for event in asset_events(prepared)] == [version.label]
    last = own(events.of_run(prepared.run_id, lambda seen: own(seen, "warm")), "prepare")[-1]["data"]
    assert (last["kind"], last["dataset"], last["state"]) == ("prepare", name, "succeeded")
    assert last["done"] == last["total"] > 0

    trained = run_entry("train")
    assert states(trained) == {"train": "success"}
    model = loaded.version(f"{name}_model")
    (event,) = asset_events(trained)
    assert (event["version"], event["data"]) == (model.label, version.reference)
    curves = events.of_run(trained.run_id, lambda seen: any("series" in each["data"] for each in seen))
    assert any("loss" in each["data"].get("series", {}) for each in curves)


def test_unchanged_inputs_skip_the_tasks_and_create_no_event(run_entry: RunEntry, loaded: Store, name: str) -> None:
    first = xcoms(run_entry("prepare"))["publish", -1, "return_value"]
    run_entry("train")
    run = run_entry("prepare")
    assert run.state == "success"
    assert states(run) == {
        "plan": "success", "prepare": "skipped", "verify": "skipped", "publish": "success", "warm": "skipped",
    }  # fmt: skip
    report = xcoms(run)["publish", -1, "return_value"]
    assert (report["skipped"], report["version"]) == ("unchanged", first["version"])
    assert asset_events(run) == []
    trained = run_entry("train")
    assert states(trained) == {"train": "skipped"}
    assert xcoms(trained)["train", -1, "return_value"]["skipped"] == "unchanged"
    assert asset_events(trained) == []
    assert len(loaded.versions(name)) == len(loaded.versions(f"{name}_model")) == 1


def test_a_run_is_skipped_with_the_name_of_the_input_that_does_not_exist(
    run_entry: RunEntry, store: Store, name: str, events: EventLog
) -> None:
    run = run_entry("prepare")
    assert states(run) == dict.fromkeys(TASKS, "skipped")
    last = own(events.of_run(run.run_id, lambda seen: has_reported(seen, "plan", "skipped")), "plan")[-1]["data"]
    assert last["state"] == "skipped"
    assert f"{name}_trips" in last["message"]
    assert asset_events(run) == []


def own_sql(name: str, **fields: Any) -> dict[str, Any]:
    """Return the conf of a form with own SQL over the trips alone."""
    return {
        "name": f"{name}_own",
        "query": "SELECT id, distance FROM t",
        "inputs": [f"t={name}_trips"],
        "key": ["id"],
        "target": "delay > 15",
        "warm": False,
        **fields,
    }


def test_own_sql_of_the_form_makes_a_version(run_dag: RunDag, loaded: Store, name: str) -> None:
    run = run_dag("prepare_training_data", **own_sql(name, seed=7))
    assert states(run) == {**dict.fromkeys(TASKS, "success"), "warm": "skipped"}
    recipe = loaded.dataset(f"{name}_own").recipe
    assert recipe is not None
    assert recipe.seed == 7
    assert sum(figures["rows"] for figures in recipe.splits.values()) == ROWS


@pytest.mark.parametrize(
    ("fields", "task", "message"),
    [
        ({"query": "SELECT * FROM '/etc/passwd'"}, "plan", ""),
        ({"query": "SELECT 1; SELECT 2"}, "plan", "one"),
        ({"query": "SELECT id FROM t WHERE"}, "plan", "line 1"),
        ({"key": []}, "plan", "key"),
        ({"splits": ["train=0.5", "val=0.4"]}, "plan", "sum to 0.9"),
        ({"inputs": ["t=nothing_of_this_name"]}, "plan", "nothing_of_this_name"),
        ({"entry": "late"}, "plan", "an entry and own SQL"),
        ({"train": "os:system"}, "plan", "unknown key 'train'"),
    ],
)
def test_a_wrong_form_fails_at_once_in_one_line_and_makes_nothing(
    run_dag: RunDag,
    loaded: Store,
    name: str,
    events: EventLog,
    fields: dict[str, Any],
    task: str,
    message: str,
) -> None:
    run = run_dag("prepare_training_data", **own_sql(name, **fields))
    assert run.state == "failed"
    assert (states(run)[task], states(run)["publish"]) == ("failed", "upstream_failed")
    assert f"{name}_own" not in {info.name for info in loaded.datasets()}
    seen = events.of_run(run.run_id, lambda each: own(each, task) and own(each, task)[-1]["data"]["error"])
    error = own(seen, task)[-1]["data"]["error"]["message"]
    assert message in error
    assert "\n" not in error


def test_the_form_trains_on_a_version_with_a_seed(run_dag: RunDag, loaded: Store, name: str) -> None:
    loaded.prepare(name)
    first = loaded.version(name).reference
    loaded.prepare(name, seed=7, force=True)
    run = run_dag("train_model", entry=name, version="1", seed=3)
    report = xcoms(run)["train", -1, "return_value"]
    assert (run.state, report["data"], report["seed"]) == ("success", first, 3)
    assert loaded.version(f"{name}_model").label == report["version"]
