"""Tests of the demo's wait for the DAGs that follow its load."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from local_stack.airflow_client import AirflowClient
from local_stack.demo import DAGS, wait_for_dags
from local_stack.services.airflow import Airflow
from local_stack.settings import CHECKOUT
from millrace.declarations import read_sources, read_training
from millrace.errors import StackError

AIRFLOW = cast("Airflow", SimpleNamespace(address="http://airflow"))


class Client:
    """A client of an Airflow that has read all DAGs, some of them paused."""

    def __init__(self, *paused: str) -> None:
        self.paused = paused
        self.waited_for: list[str] = []

    def wait_for_dag(self, dag_id: str, timeout_s: float) -> dict[str, Any]:
        self.waited_for.append(dag_id)
        return {"dag_id": dag_id, "is_paused": dag_id in self.paused}


def test_the_demo_waits_for_each_dag_that_follows_the_load_of_flights() -> None:
    sources = read_sources(CHECKOUT / "conf" / "sources.yaml").entries
    training = read_training(CHECKOUT / "conf" / "training.yaml").entries
    following = {f"ingest_{name}" for name, entry in sources.items() if entry.after}
    following |= {f"{kind}_{name}" for name in training for kind in ("prepare", "train")}
    client = Client()
    wait_for_dags(cast("AirflowClient", client), AIRFLOW)
    assert set(client.waited_for) == {"ingest_dataset", *following}


@pytest.mark.parametrize("dag_id", DAGS)
def test_a_paused_dag_of_the_demo_is_named(dag_id: str) -> None:
    with pytest.raises(StackError, match=f"the DAG {dag_id} is paused") as error:
        wait_for_dags(cast("AirflowClient", Client(dag_id)), AIRFLOW)
    assert f"http://airflow/dags/{dag_id}" in str(error.value)
