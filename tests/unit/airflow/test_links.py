"""Links of Millrace DAGs lead to the live page of the task, and building a link never raises."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from airflow.models.taskinstancekey import TaskInstanceKey

from millrace.airflow import is_ours
from millrace.airflow.links import LiveProgressLink, bridge_url, external_views, live_page

RUN = "manual__2026-11-22T15:57:20.850814+00:00"
QUOTED = "manual__2026-11-22T15%3A57%3A20.850814%2B00%3A00"


def link(dag_id: str, map_index: int = -1, tags: Any = ()) -> str:
    operator = SimpleNamespace(dag=SimpleNamespace(tags=tags))
    key = TaskInstanceKey(dag_id=dag_id, task_id="load", run_id=RUN, try_number=1, map_index=map_index)
    return LiveProgressLink().get_link(operator, ti_key=key)


def test_the_link_of_a_task_quotes_its_run_id() -> None:
    assert link("ingest_dataset") == f"http://127.0.0.1:8085/runs/ingest_dataset/{QUOTED}/load"


def test_the_link_of_a_mapped_task_has_its_index() -> None:
    assert link("ingest_dataset", 0) == f"http://127.0.0.1:8085/runs/ingest_dataset/{QUOTED}/load/0"


def test_a_task_of_another_dag_has_no_link() -> None:
    assert link("nightly_report") == ""
    assert link("nightly_report", tags={"finance"}) == ""


def test_a_dag_with_the_millrace_tag_has_the_link() -> None:
    assert link("nightly_report", tags={"finance", "millrace"}).endswith("/load")


def test_a_link_never_raises() -> None:
    assert LiveProgressLink().get_link(None, ti_key=None) == ""
    assert LiveProgressLink().get_link(object(), ti_key=SimpleNamespace(dag_id="ingest_x")) == ""


@pytest.mark.parametrize(
    "dag_id",
    [
        "ingest_dataset",
        "ingest_orders",
        "prepare_training_data",
        "prepare_late",
        "train_model",
        "train_late",
        "warm_cache",
        "maintain_store",
    ],
)
def test_every_millrace_dag_id_is_recognized(dag_id: str) -> None:
    assert is_ours(dag_id)


def test_links_use_the_configured_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_BRIDGE__URL", "https://live.example/")
    bridge_url.cache_clear()
    assert live_page("d", "r/1") == "https://live.example/runs/d/r%2F1"
    assert {view["destination"]: view["href"] for view in external_views()} == {
        "dag_run": "https://live.example/runs/{DAG_ID}/{RUN_ID}",
        "task_instance": "https://live.example/runs/{DAG_ID}/{RUN_ID}/{TASK_ID}/{MAP_INDEX}",
        "nav": "https://live.example/",
    }


def test_an_invalid_setting_falls_back_to_the_default_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_BRIDGE__PORT", "none")
    bridge_url.cache_clear()
    assert bridge_url() == "http://127.0.0.1:8085"


def test_no_two_views_share_a_route() -> None:
    routes = [view["url_route"] for view in external_views()]
    assert len(set(routes)) == len(routes)
