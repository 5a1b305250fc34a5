"""A DAG of the same tasks as ``ingest_dataset`` that do nothing: the time that Airflow alone takes."""

from __future__ import annotations

from typing import Any

from airflow.sdk import TriggerRule, dag, get_current_context, result, task

Json = dict[str, Any]
_AFTER_LOAD = TriggerRule.NONE_FAILED


@dag(dag_id="bench_empty", schedule=None, is_paused_upon_creation=False, max_active_runs=4, tags=["bench"])
def bench_empty() -> None:
    """Define the DAG: plan, load of one split, verify, publish and warm."""

    @task
    def plan() -> list[int]:
        get_current_context()["ti"].xcom_push(key="plan", value={})
        return [0]

    @task(max_active_tis_per_dagrun=4)
    def load(split: int, planned: Json) -> Json:
        return {**planned, "split": split}

    @task(trigger_rule=_AFTER_LOAD)
    def verify(planned: Json, loaded: list[Json]) -> Json:
        return {**planned, "splits": len(loaded[:])}

    @result
    @task(trigger_rule=_AFTER_LOAD)
    def publish(planned: Json, loaded: list[Json]) -> Json:
        return {**planned, "splits": len(loaded[:])}

    @task
    def warm(report: Json) -> Json:
        return report

    splits: Any = plan()
    planned = splits["plan"]
    loaded: Any = load.partial(planned=planned).expand(split=splits)
    published = publish(planned, loaded)
    verify(planned, loaded) >> published
    warm(published)


bench_empty()
