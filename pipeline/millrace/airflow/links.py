"""Links from Airflow's pages to the live page of the bridge."""

from __future__ import annotations

import logging
from functools import cache
from typing import Any
from urllib.parse import quote

from airflow.sdk import BaseOperatorLink

from millrace.airflow import is_ours
from millrace.errors import MillraceError
from millrace.settings import BridgeSettings, load_settings

logger = logging.getLogger(__name__)


@cache
def bridge_url() -> str:
    """Return the bridge's address for browsers (``MILLRACE_BRIDGE__URL``), without a slash at the end.

    Never raises: an exception for a wrong setting would break every Airflow page that shows a link.
    """
    try:
        return load_settings().bridge.url.rstrip("/")
    except MillraceError as error:
        logger.warning("links to live progress use the default address: %s", error)
        return BridgeSettings().url


def live_page(dag_id: str, run_id: str, task_id: str = "", map_index: int = -1) -> str:
    """Return the address of the live page of a run or task. Ids are quoted, because run ids contain ``:`` and ``+``."""
    parts = [dag_id, run_id, *([task_id] if task_id else []), *([str(map_index)] if map_index >= 0 else [])]
    return "/".join([bridge_url(), "runs", *(quote(part, safe="") for part in parts)])


class LiveProgressLink(BaseOperatorLink):
    """A button on every task of Millrace DAGs, mapped ones too. It works while the task runs."""

    name = "Live progress"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Return the task's live page, or an empty text for other DAGs. Airflow's API server calls this."""
        try:
            dag = getattr(operator, "dag", None)
            if not is_ours(ti_key.dag_id, getattr(dag, "tags", ())):
                return ""
            index = -1 if ti_key.map_index is None else ti_key.map_index
            return live_page(ti_key.dag_id, ti_key.run_id, ti_key.task_id, index)
        except Exception:
            # If one link raises, the response is an HTTP 500 and hides the links of every other plugin, too.
            logger.warning("no live link for %r", ti_key, exc_info=True)
            return ""


def external_views() -> list[dict[str, str]]:
    """Return the live page as a tab of each run and each task, and as a menu entry."""
    base = bridge_url()
    return [
        {
            "name": "Live",
            "destination": "dag_run",
            "url_route": "millrace-run",
            "href": base + "/runs/{DAG_ID}/{RUN_ID}",
        },
        {
            "name": "Live",
            "destination": "task_instance",
            "url_route": "millrace-task",
            "href": base + "/runs/{DAG_ID}/{RUN_ID}/{TASK_ID}/{MAP_INDEX}",
        },
        {
            "name": "Live progress",
            "destination": "nav",
            "category": "browse",
            "url_route": "millrace",
            "href": base + "/",
        },
    ]
