"""DAGs of declared sources, whose task process is killed in its first attempt at one place of the load."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import wraps
from typing import Any

from airflow.sdk import get_current_context

from millrace.airflow.declared import ingest_dag
from millrace.api import Store
from millrace.load import publishing
from millrace.store.chunks.page_writer import PageWriter

PLACES = {
    "plan": (Store, "plan"),
    "load": (PageWriter, "journal"),
    "between": (publishing, "publish_rejects"),
    "published": (Store, "publish"),
}
"""For each DAG, the function after whose first return the process of its task is killed."""
FIELDS = {
    "mode": "incremental",
    "column_types": {"n": "int64"},
    "max_bad_rows": "1%",
    "chunk_bytes": 1_000_000,
    "warm": False,
}


def killed_after(place: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function, which kills its process in the first attempt of a task of the DAG of this place."""

    @wraps(function)
    def killed(*arguments: Any, **options: Any) -> Any:
        result = function(*arguments, **options)
        context = get_current_context()
        if (context["dag"].dag_id, context["ti"].try_number) == (f"ingest_killed_{place}", 1):
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return killed


# Of one bucket no journal page is written. This is the smallest size of a bucket.
os.environ["MILLRACE_LOAD__BUCKET_BYTES"] = "5000000"
for place, (owner, name) in PLACES.items():
    setattr(owner, name, killed_after(place, getattr(owner, name)))
    ingest_dag(f"killed_{place}", {**FIELDS, "uri": [f"killed_{place}/*.csv"]})
