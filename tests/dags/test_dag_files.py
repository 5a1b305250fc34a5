"""Rules that every DAG file keeps, checked without running it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from local_stack.settings import CHECKOUT
from millrace.airflow import TAG, is_ours

DAGS = sorted((CHECKOUT / "dags").glob("*.py"))
LINES_MAX = 120

PARSE_UNDER_WATCH = """
import json, sys
from airflow.sdk import DAG, Param, task

# What Airflow itself does once a process is none of the file's business.
with DAG("first", params={"p": Param(1, type="integer")}):
    task(lambda: None).override(task_id="t")()
before = set(sys.modules)
seen = []

def watch(event, args):
    if event.startswith(("socket.", "subprocess.", "os.system", "os.fork", "os.exec", "sqlite3.")):
        seen.append([event, repr(args)[:200]])
    elif event == "open" and args[1] is not None and set(str(args[1])) & set("wax+"):
        seen.append([event, repr(args)[:200]])

sys.dont_write_bytecode = True
sys.addaudithook(watch)
import runpy
runpy.run_path(sys.argv[1])
heavy = {"pyarrow", "cassandra", "confluent_kafka", "redis", "numpy", "pandas", "isal"} & set(sys.modules) - before
print(json.dumps({"seen": seen, "heavy": sorted(heavy)}))
"""


@pytest.fixture(scope="module")
def bag() -> Any:
    from airflow.dag_processing.dagbag import DagBag

    return DagBag(str(CHECKOUT / "dags"))


def test_every_file_gives_its_dags_without_an_error(bag: Any) -> None:
    assert bag.import_errors == {}
    assert {Path(dag.fileloc).stem for dag in bag.dags.values()} == {path.stem for path in DAGS}


def test_the_documented_dags_exist_and_every_dag_id_is_recognized_as_ours(bag: Any) -> None:
    assert {"ingest_dataset", "maintain_store"} <= set(bag.dags)
    assert all(is_ours(dag_id) for dag_id in bag.dags)


@pytest.mark.parametrize("path", DAGS, ids=lambda path: path.stem)
def test_a_dag_file_is_short_enough_to_be_read(path: Path) -> None:
    assert len(path.read_text().splitlines()) < LINES_MAX


@pytest.mark.parametrize("path", DAGS, ids=lambda path: path.stem)
def test_parsing_a_dag_opens_no_connection_writes_no_file_and_imports_nothing_heavy(path: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PARSE_UNDER_WATCH, str(path)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=CHECKOUT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {"seen": [], "heavy": []}


def test_every_dag_is_tagged_and_documents_the_triage_of_each_task(bag: Any) -> None:
    for dag in bag.dags.values():
        assert TAG in dag.tags, dag.dag_id
        assert dag.description, dag.dag_id
        assert "### Triage" in (dag.doc_md or ""), dag.dag_id
        for task in dag.tasks:
            assert f"**{task.task_id}**" in dag.doc_md, f"{dag.dag_id}: the triage says nothing of {task.task_id}"
            assert task.doc_md, f"{dag.dag_id}.{task.task_id}"


def test_every_task_is_retried_by_the_rule_and_has_a_deadline(bag: Any) -> None:
    from millrace.airflow.retry import RetriableErrors

    for dag in bag.dags.values():
        for task in dag.tasks:
            options = getattr(task, "partial_kwargs", None) or vars(task)
            assert isinstance(options["retry_policy"], RetriableErrors), task.task_id
            assert options["execution_timeout"] is not None, task.task_id
            assert options["retries"] > 0, task.task_id


def test_every_param_has_a_title_and_description_and_accepts_its_default(bag: Any) -> None:
    for dag in bag.dags.values():
        for name in dag.params:
            param = dag.params.get_param(name)
            assert param.schema.get("title"), f"{dag.dag_id}: {name}"
            assert param.description, f"{dag.dag_id}: {name}"
            if param.has_value:
                param.resolve()


def test_a_dag_survives_airflows_serialization(bag: Any) -> None:
    from airflow.serialization.serialized_objects import DagSerialization

    for dag in bag.dags.values():
        said = json.loads(json.dumps(DagSerialization.to_dict(dag)))
        assert set(DagSerialization.from_dict(said).task_dict) == set(dag.task_dict)


def test_parsing_twice_gives_the_same_dag(bag: Any) -> None:
    from airflow.dag_processing.dagbag import DagBag
    from airflow.serialization.serialized_objects import DagSerialization

    again = DagBag(str(CHECKOUT / "dags"))
    for dag_id, dag in bag.dags.items():
        assert json.dumps(DagSerialization.to_dict(dag)) == json.dumps(DagSerialization.to_dict(again.dags[dag_id]))


def test_the_plugin_file_may_be_executed_twice_and_declares_one_listener() -> None:
    import runpy

    path = str(CHECKOUT / "plugins" / "millrace_plugin.py")
    first, second = (runpy.run_path(path)["MillracePlugin"] for _ in range(2))
    assert first.listeners == second.listeners
    assert {view["destination"] for view in first.external_views} == {"dag_run", "task_instance", "nav"}
    assert [link.name for link in first.global_operator_extra_links] == ["Live progress"]


def test_no_plugin_file_shadows_a_library() -> None:
    from importlib.util import find_spec

    for path in (CHECKOUT / "plugins").glob("*.py"):
        # Once Airflow is imported, the plugins folder itself is on ``sys.path``.
        found = find_spec(path.stem)
        assert found is None or found.origin == str(path), f"Airflow would put {path} in the place of {found}"
