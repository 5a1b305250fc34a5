"""The file of declared sources of a run of tests, and the DAGs that a real Airflow makes of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from local_stack.airflow_client import AirflowClient
from tests import waiting

MENDED_S = 60
READ_S = 180
"""Bound of the time until Airflow has read a changed file, where the time itself is not tested."""
ALL_S = 240
RUN_S = 120
ROWS = "a\n1\n2\n"


def until(condition: Callable[[], Any], timeout_s: float, problem: Callable[[], object]) -> Any:
    """Return the first true value of the condition, for which Airflow is asked each second."""
    return waiting.until(condition, problem, timeout_s, interval_s=1)


class Sources:
    """The file of declared sources of this run, and the DAGs and errors that Airflow has of it."""

    def __init__(self, path: Path, airflow: AirflowClient, prefix: str) -> None:
        self.path = path
        self.airflow = airflow
        self.prefix = prefix

    def write(self, **entries: dict[str, Any]) -> None:
        """Declare these entries, one on each line from the second."""
        lines = [f"  {self.prefix}{name}: {json.dumps(entry)}\n" for name, entry in entries.items()]
        self.path.write_text("sources:\n" + "".join(lines))

    def _pages(self, path: str, key: str, **query: Any) -> Iterator[dict[str, Any]]:
        """Yield the items of all pages; the API gives at most 100 of them at once."""
        for offset in range(0, 1000, 100):
            items = self.airflow.get(f"/api/v2/{path}", limit=100, offset=offset, **query)[key]
            yield from items
            if len(items) < 100:
                return

    def dags(self) -> set[str]:
        """Return the entries whose DAGs can run."""
        return {
            dag["dag_id"].removeprefix(f"ingest_{self.prefix}")
            for dag in self._pages("dags", "dags", dag_id_pattern=f"ingest_{self.prefix}")
            if not (dag["is_stale"] or dag["has_import_errors"] or dag["is_paused"])
        }

    def errors(self) -> dict[str, str]:
        """Return the last line of each import error of this bundle by its file."""
        return {
            Path(error["filename"]).name: error["stack_trace"].strip().splitlines()[-1]
            for error in self._pages("importErrors", "import_errors")
            if error["bundle_name"] == "declared-sources"
        }

    def runs(self, name: str) -> list[dict[str, Any]]:
        return list(self.airflow.get(f"/api/v2/dags/ingest_{self.prefix}{name}/dagRuns")["dag_runs"])

    def run_of(self, name: str, run_type: str) -> dict[str, Any]:
        """Return the first run of a type once it has ended."""
        self.airflow.wait_for_dag(f"ingest_{self.prefix}{name}", timeout_s=MENDED_S)

        def ended() -> Any:
            runs = [run for run in self.runs(name) if run["run_type"] == run_type]
            return next((run for run in runs if run["state"] in ("success", "failed")), None)

        return dict(until(ended, RUN_S, lambda: self.runs(name)))
