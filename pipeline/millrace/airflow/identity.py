"""Derive the identity of an Airflow task attempt, and the position of each task in its DAG."""

from __future__ import annotations

from graphlib import TopologicalSorter
from typing import Any

from millrace.progress import TaskIdentity, TaskPosition


def identity_of(task_instance: Any) -> TaskIdentity:
    """Return the identity of a task instance, which may be of Airflow's ORM class or of the task's own class."""
    index = task_instance.map_index
    return TaskIdentity(
        dag_id=task_instance.dag_id,
        run_id=task_instance.run_id,
        task_id=task_instance.task_id,
        map_index=-1 if index is None else index,
        attempt=task_instance.try_number or 0,
        origin="airflow",
    )


def positions_of(dag: Any) -> dict[str, TaskPosition]:
    """Return the position of each task by its id; empty if the DAG is not loaded.

    Every Airflow process gets the same positions, from the DAG itself and from its serialized form in the database.
    """
    tasks = {task.task_id: task for task in getattr(dag, "tasks", ())}
    graph = TopologicalSorter({task_id: tasks.keys() & task.upstream_task_ids for task_id, task in tasks.items()})
    graph.prepare()
    order: list[str] = []
    while graph.is_active():
        ready = sorted(graph.get_ready())
        order += ready
        graph.done(*ready)
    return {task_id: TaskPosition(step, not tasks[task_id].downstream_task_ids) for step, task_id in enumerate(order)}
