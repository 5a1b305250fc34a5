"""DAGs of declared training data, whose task process is killed in its first attempt at one place of the preparation."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import wraps
from typing import Any

from airflow.sdk import get_current_context

from millrace.airflow.declared_training import training_dags
from millrace.api import Store
from millrace.training.prepare.engine import Engine

PLACES = {
    "plan": (Store, "plan_preparation"),
    "query": (Engine, "run_query"),
    "written": (Store, "write_preparation"),
    "verify": (Store, "verify_split"),
    "publish": (Store, "publish_preparation"),
    "warm": (Store, "warm"),
}
"""For each DAG, the function after whose first return the process of its task is killed."""
NEVER = "0 0 29 2 *"
FIELDS: dict[str, Any] = {
    "inputs": {"trips": "killed_trips", "weather": "killed_weather"},
    "query": "SELECT t.id, t.city, t.distance::FLOAT AS distance, w.temp::FLOAT AS temp, w.hour AS known_at "
    "FROM trips t ASOF LEFT JOIN weather w ON t.city = w.city AND w.hour <= t.start - INTERVAL 1 HOUR",
    "key": ["id"],
    "at": "start - INTERVAL 1 HOUR",
    "target": "delay > 15",
    "after": ["delay"],
    "known": {"weather": "known_at"},
    "categories": ["city"],
    "nulls": {"temp": "mean"},
    "splits": {"train": 0.6, "val": 0.2, "test": 0.2},
    "schedule": NEVER,
}


def killed_after(place: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function, which kills its process in the first attempt of a task of the DAG of this place."""

    @wraps(function)
    def killed(*arguments: Any, **options: Any) -> Any:
        result = function(*arguments, **options)
        context = get_current_context()
        if (context["dag"].dag_id, context["ti"].try_number) == (f"prepare_late_killed_{place}", 1):
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return killed


for place, (owner, name) in PLACES.items():
    setattr(owner, name, killed_after(place, getattr(owner, name)))
    training_dags(f"late_killed_{place}", FIELDS)
