"""Which attempt of which task Airflow means."""

from __future__ import annotations

from typing import Any

from pipeline.progress import TaskIdentity

__all__ = ["identity_of"]


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
