"""The work of the DAG that keeps used versions in Redis."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from millrace.airflow.reporter import step

logger = logging.getLogger(__name__)


def warm_opened(params: Mapping[str, Any]) -> dict[str, Any]:
    """Warm the versions that several jobs opened; a Redis that is unreachable or full is no failure.

    The budget of the form counts, else that of the settings.
    """
    with step("warm", dataset="") as (store, task):
        budget_bytes = params.get("budget_bytes")
        if budget_bytes is None:
            budget_bytes = store.settings.redis.warm_budget_bytes
        result = store.warm_opened(int(budget_bytes), task=task)
    for report in result.warmed:
        reason = f": {report.reason}" if report.reason else ""
        logger.info("%s: %.0f %% is in Redis%s", report.reference, 100 * report.share, reason)
    for name in result.over_budget:
        logger.warning("%s is not warmed, because it exceeds the budget", name)
    return dict(json.loads(json.dumps(result.to_json())))
