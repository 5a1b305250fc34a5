"""Which attempt of which task Airflow means, and where the task stands in its DAG."""

from __future__ import annotations

from graphlib import TopologicalSorter
from typing import Any

from millrace.progress import Place, TaskIdentity

__all__ = ["identity_of", "places_of"]


def identity_of(task_instance: Any) -> TaskIdentity:
    """The attempt that a task instance stands for, whichever class Airflow hands out: the ORM's or the task's own."""
    index = task_instance.map_index
    return TaskIdentity(
        dag_id=task_instance.dag_id,
        run_id=task_instance.run_id,
        task_id=task_instance.task_id,
        map_index=-1 if index is None else index,
        attempt=task_instance.try_number or 0,
        origin="airflow",
    )


def places_of(dag: Any) -> dict[str, Place]:
    """The place of each task by its id; empty where the DAG is not at hand.

    Every process of Airflow gets the same places, whether it has the DAG itself or what the database holds of it.
    """
    tasks = {task.task_id: task for task in getattr(dag, "tasks", ())}
    graph = TopologicalSorter({task_id: tasks.keys() & task.upstream_task_ids for task_id, task in tasks.items()})
    graph.prepare()
    order: list[str] = []
    while graph.is_active():
        ready = sorted(graph.get_ready())
        order += ready
        graph.done(*ready)
    return {task_id: Place(step, not tasks[task_id].downstream_task_ids) for step, task_id in enumerate(order)}
