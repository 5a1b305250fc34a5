"""The DAGs of an entry of the training file: their schedules, tasks and documentation."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG, Asset, AssetAll, AssetAny, CronTriggerTimetable

from millrace.airflow import is_ours
from millrace.airflow.declared_training import EntryRequest, training_dags
from millrace.declarations import TrainingEntry

FIELDS: dict[str, Any] = {
    "inputs": {"trips": "trips", "past": "trips@12", "weather": "weather"},
    "query": "SELECT id, distance FROM trips",
    "key": ["id"],
    "at": "start",
    "target": "delay > 15",
    "known": {"past": "seen", "weather": "always"},
    "splits": {"train": 0.7, "val": 0.3},
}
EITHER = AssetAny(Asset.ref(name="dataset/trips"), Asset.ref(name="dataset/weather"))
BOTH = AssetAll(Asset.ref(name="dataset/trips"), Asset.ref(name="dataset/weather"))
MORNING = CronTriggerTimetable("5 2 * * *", timezone="America/New_York", run_immediately=timedelta(minutes=1))


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> dict[str, DAG]:
    """Return the DAGs that are defined, by their ids."""
    dags: dict[str, DAG] = {}
    original = DAG.__exit__

    def kept(self: DAG, *given: Any) -> Any:
        dags[self.dag_id] = self
        return original(self, *given)

    monkeypatch.setattr(DAG, "__exit__", kept)
    return dags


@pytest.mark.parametrize(
    ("fields", "schedule"),
    [
        ({}, EITHER),
        ({"schedule": "any"}, EITHER),
        ({"schedule": "all"}, BOTH),
        ({"schedule": "5 2 * * *", "timezone": "America/New_York"}, MORNING),
    ],
)
def test_the_schedule_is_that_of_the_entry(fields: dict[str, Any], schedule: object) -> None:
    dag = training_dags("late", {**FIELDS, **fields})
    assert repr(dag.schedule) == repr(schedule)
    assert (dag.dag_id, dag.catchup, dag.max_active_runs) == ("prepare_late", False, 1)
    assert dag.is_paused_upon_creation is False


def test_an_entry_has_a_dag_of_training_only_with_a_function(made: dict[str, DAG]) -> None:
    training_dags("late", FIELDS)
    assert list(made) == ["prepare_late"]
    training_dags("late", {**FIELDS, "train": "examples.late:train"})
    assert set(made) == {"prepare_late", "train_late"}
    dag = made["train_late"]
    assert repr(dag.schedule) == repr([Asset.ref(name="dataset/late")])
    assert (dag.catchup, dag.max_active_runs, dag.is_paused_upon_creation) == (False, 1, False)
    assert [task.task_id for task in dag.tasks] == ["train"]
    assert "examples.late:train" in (dag.doc_md or "")


def test_no_dag_is_started_by_the_asset_that_it_updates(made: dict[str, DAG]) -> None:
    training_dags("late", {**FIELDS, "train": "examples.late:train"})
    assert "dataset/late'" not in repr(made["prepare_late"].schedule)
    assert "dataset/late_model" not in repr(made["train_late"].schedule)


def test_owner_and_tags_are_those_of_the_entry(made: dict[str, DAG]) -> None:
    training_dags("late", {**FIELDS, "owner": "team", "tags": ["daily"], "train": "a:b"})
    assert made["prepare_late"].tags == {"millrace", "prepare", "daily"}
    assert made["train_late"].tags == {"millrace", "train", "daily"}
    assert {task.owner for dag in made.values() for task in dag.tasks} == {"team"}
    assert {task.owner for task in training_dags("late", FIELDS).tasks} == {"millrace"}


def test_both_dags_document_the_triage_of_each_task_and_are_reported(made: dict[str, DAG]) -> None:
    training_dags("late", {**FIELDS, "train": "a:b"})
    for dag in made.values():
        assert "### Triage" in (dag.doc_md or "")
        assert dag.description
        assert is_ours(dag.dag_id)
        for task in dag.tasks:
            assert f"**{task.task_id}**" in (dag.doc_md or "")
            assert task.doc_md


def test_the_documentation_has_the_fields_as_yaml() -> None:
    import yaml

    documentation = training_dags("late", FIELDS).doc_md or ""
    assert yaml.safe_load(documentation.partition("```yaml\n")[2].partition("```")[0]) == FIELDS
    assert documentation.startswith("Prepare late from trips, weather: after trips or weather.")
    assert "millrace prepare late --force" in documentation


def test_the_tasks_follow_in_order_and_all_are_skipped_with_the_plan() -> None:
    dag = training_dags("late", FIELDS)
    assert {task.task_id: sorted(task.downstream_task_ids) for task in dag.tasks} == {
        "plan": ["prepare", "publish", "verify"],
        "prepare": ["publish", "verify"],
        "verify": ["publish"],
        "publish": ["warm"],
        "warm": [],
    }
    rules = {task.task_id: task.trigger_rule.value for task in dag.tasks}
    after = "none_failed_min_one_success"
    assert rules == {
        "plan": "all_success", "prepare": "all_success", "verify": after, "publish": after, "warm": "all_success",
    }  # fmt: skip


def test_a_run_prepares_the_entry_of_its_file() -> None:
    entry = TrainingEntry.model_validate({**FIELDS, "warm": False}, context={"name": "late"})
    request = EntryRequest("late", entry)
    assert (request.dataset, request.warm, request.waits_for_inputs) == ("late", False, True)
    choice = request.choice()
    assert (choice.entry, choice.versions, choice.seed, choice.force) == (entry, {}, None, False)


def test_a_query_file_is_read_from_the_folder_of_the_training_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MILLRACE_TRAINING__FILE", str(tmp_path / "training.yaml"))
    (tmp_path / "late.sql").write_text("SELECT id FROM trips")
    fields = {name: value for name, value in FIELDS.items() if name != "query"}
    assert training_dags("late", {**fields, "query_file": "late.sql"}).dag_id == "prepare_late"


def test_the_dags_survive_airflows_serialization(made: dict[str, DAG]) -> None:
    from airflow.serialization.serialized_objects import DagSerialization

    training_dags("late", {**FIELDS, "train": "a:b"})
    for dag in made.values():
        document = json.loads(json.dumps(DagSerialization.to_dict(dag)))
        assert set(DagSerialization.from_dict(document).task_dict) == set(dag.task_dict)


def test_defining_the_dags_imports_nothing_heavy() -> None:
    code = (
        "import sys; from millrace.airflow.declared_training import training_dags; "
        f"training_dags('late', { ({**FIELDS, 'train': 'a:b', 'schedule': '5 2 * * *'})!r}); "
        "print({'pyarrow', 'numpy', 'cassandra', 'redis', 'confluent_kafka', 'duckdb', 'sklearn', 'sqlglot'} "
        "& set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"
