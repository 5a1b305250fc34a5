"""The DAG of the benchmark that does nothing has the tasks of the DAG that loads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.orchestration import _dags_folder
from tests.airflow_home import use_airflow_home

use_airflow_home()


@pytest.fixture
def dags(tmp_path: Path) -> Any:
    """Return the DAGs of the folder that the benchmark gives to Airflow."""
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(str(_dags_folder(tmp_path)))
    assert bag.import_errors == {}
    return bag.dags


def shape(dag: Any) -> dict[str, Any]:
    return {task.task_id: (task.trigger_rule, task.is_mapped, task.downstream_task_ids) for task in dag.tasks}


def test_the_empty_dag_has_the_same_tasks_as_the_one_that_loads(dags: Any) -> None:
    assert {"ingest_dataset", "maintain_store", "bench_empty"} <= set(dags)
    assert shape(dags["bench_empty"]) == shape(dags["ingest_dataset"])
    assert dags["bench_empty"].max_active_runs == dags["ingest_dataset"].max_active_runs
