"""Rules that every DAG file keeps, checked without running it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from local_stack.compose import product
from local_stack.settings import CHECKOUT, load_stack_settings
from local_stack.stack import Stack
from millrace.airflow import TAG, is_ours

DAGS = sorted((CHECKOUT / "dags").glob("*.py"))
LINES_MAX = 120
BY_HAND = {"ingest_dataset", "prepare_training_data", "train_model"}

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
named = {"pyarrow", "cassandra", "confluent_kafka", "redis", "numpy", "pandas", "isal", "duckdb", "sklearn", "sqlglot"}
heavy = named & set(sys.modules) - before
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
    assert set(bag.dags) == BY_HAND | {"maintain_store", "warm_cache"}
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
        document = json.loads(json.dumps(DagSerialization.to_dict(dag)))
        assert set(DagSerialization.from_dict(document).task_dict) == set(dag.task_dict)


def test_parsing_twice_gives_the_same_dag(bag: Any) -> None:
    from airflow.dag_processing.dagbag import DagBag
    from airflow.serialization.serialized_objects import DagSerialization

    again = DagBag(str(CHECKOUT / "dags"))
    for dag_id, dag in bag.dags.items():
        assert json.dumps(DagSerialization.to_dict(dag)) == json.dumps(DagSerialization.to_dict(again.dags[dag_id]))


def test_the_plugin_file_may_be_executed_twice_and_declares_one_listener(monkeypatch: pytest.MonkeyPatch) -> None:
    import runpy

    from millrace.airflow import plugin

    monkeypatch.setattr(plugin, "distributions", list)
    path = str(CHECKOUT / "plugins" / "millrace_plugin.py")
    first, second = (runpy.run_path(path)["MillracePlugin"] for _ in range(2))
    assert first.listeners == second.listeners
    assert {view["destination"] for view in first.external_views} == {"dag_run", "task_instance", "nav"}
    assert [link.name for link in first.global_operator_extra_links] == ["Live progress"]


PLUGINS = """
import importlib.metadata, json, sys
import importlib_metadata

installed = sys.argv[1] == "installed"

class Installed(importlib.metadata.Distribution):
    metadata = {"Name": "millrace"}
    name, version = "millrace", "0.1.0"
    def locate_file(self, path): ...
    def read_text(self, name):
        return "[airflow.plugins]\\nmillrace = millrace.airflow.plugin:MillracePlugin" * (name == "entry_points.txt")

for library in (importlib.metadata, importlib_metadata):
    def distributions(real=library.distributions, **context):
        return [*(each for each in real(**context) if each.metadata["Name"] != "millrace"), *[Installed()] * installed]
    library.distributions = distributions

from airflow import plugins_manager as core
from airflow.sdk import plugins_manager as sdk

for manager in (core, sdk):
    plugins, errors = manager._get_plugins()
    print(json.dumps([[[each.name, str(each.source)] for each in plugins if each.name == "millrace"], errors]))
"""


@pytest.mark.parametrize(
    ("seen", "source"),
    [("installed", "millrace==0.1.0: "), ("not installed", "$PLUGINS_FOLDER/millrace_plugin.py")],
)
def test_exactly_one_plugin_is_active_beside_the_plugin_file(seen: str, source: str) -> None:
    command = [sys.executable, "-W", "ignore", "-c", PLUGINS, seen]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for line in done.stdout.splitlines()[-2:]:
        [(name, origin)], errors = json.loads(line)
        assert (name, errors) == ("millrace", {})
        assert origin.startswith(source)


def test_the_bundle_of_the_package_has_the_dags_of_the_checkout_and_no_others(bag: Any) -> None:
    from airflow.dag_processing.dagbag import DagBag

    from millrace.airflow.bundle import MillraceDagBundle

    bundle = MillraceDagBundle(name="millrace")
    bundle.initialize()
    assert bundle.get_current_version() is None
    packaged = DagBag(str(bundle.path))
    assert packaged.import_errors == {}
    assert set(packaged.dags) == set(bag.dags)


def test_the_shipped_training_data_has_a_dag_of_its_preparation_and_one_of_its_model(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from airflow.dag_processing.dagbag import DagBag

    from millrace.airflow.bundle import DeclaredTrainingBundle

    monkeypatch.setenv("MILLRACE_HOME", str(tmp_path))
    monkeypatch.delenv("MILLRACE_TRAINING__FILE")
    bundle = DeclaredTrainingBundle(name="declared-training")
    bundle.initialize()
    shipped = DagBag(str(bundle.path))
    assert shipped.import_errors == {}
    assert set(shipped.dags) == {"prepare_late_arrivals", "train_late_arrivals"}


def test_no_dag_id_of_the_stack_is_in_two_bundles() -> None:
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import DagBag

    bundles = list(DagBundlesManager().get_all_dag_bundles())
    ids = [dag_id for bundle in bundles for dag_id in DagBag(str(bundle.path)).dags]
    assert sorted(ids) == sorted({*ids, *BY_HAND, "maintain_store", "warm_cache"})
    stack = Stack(load_stack_settings(), say=lambda line: None)
    for environment in (stack.one("airflow").env(), product.airflow()["environment"]):
        # The folder of DAGs, which is the bundle of this process, and the DAGs of entries: their names differ, because
        # no entry may be named ``dataset``, ``training_data`` or ``model``.
        bundles = json.loads(environment["AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST"])
        assert [bundle["name"] for bundle in bundles] == ["dags-folder", "declared-sources", "declared-training"]


def test_no_plugin_file_shadows_a_library() -> None:
    from importlib.util import find_spec

    for path in (CHECKOUT / "plugins").glob("*.py"):
        # Once Airflow is imported, the plugins folder itself is on ``sys.path``.
        spec = find_spec(path.stem)
        assert spec is None or spec.origin == str(path), f"Airflow would put {path} in the place of {spec}"
