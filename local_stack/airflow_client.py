"""A client of Airflow's REST API, limited to the calls that start runs and read their state."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote
from uuid import uuid4

import httpx

from millrace.errors import StackError

__all__ = ["AirflowClient", "RunResult"]

FINISHED = ("success", "failed")
PARSE_INTERVAL_S = 1.0
_SENT_MAX = 4
_SERVER_ERROR, _CONFLICT = 500, 409


@dataclass(frozen=True)
class RunResult:
    """The result of a run: its state, and the return values of its result tasks by task id."""

    state: str
    results: dict[str, Any]


class AirflowClient:
    """A client that is signed in as one user.

    Every request has a timeout. ``get``, ``post``, ``patch``, ``trigger`` and ``wait_for_run`` raise ``StackError``
    with one line that contains Airflow's message.
    """

    def __init__(self, url: str, user: str, password: str, *, timeout_s: float = 60.0) -> None:
        self.url = url.rstrip("/")
        # The stack listens on loopback only, so proxies of the environment are ignored.
        self._http = httpx.Client(base_url=self.url, timeout=timeout_s, trust_env=False)
        token = self._ask("POST", "/auth/token", json={"username": user, "password": password})["access_token"]
        self._http.headers["Authorization"] = f"Bearer {token}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def wait_for_dag(
        self, dag_id: str, timeout_s: float = 60.0, *, interval_s: float = PARSE_INTERVAL_S
    ) -> dict[str, Any]:
        """Return the DAG once the DAG processor has parsed it, and after it was removed, once it has parsed it again.

        Raises ``StackError`` after ``timeout_s`` seconds, with Airflow's import errors, or with the network error if
        Airflow does not respond. Until then, an Airflow that does not respond is taken as one that is starting.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                response = self._http.get(
                    f"/api/v2/dags/{_id(dag_id)}", timeout=max(deadline - time.monotonic(), interval_s)
                )
                if response.status_code == 200 and not response.json()["is_stale"]:
                    return dict(response.json())
                reason = ""
            except httpx.HTTPError as error:
                reason = f"{self.url} does not respond: {error}"
            if time.monotonic() > deadline:
                reason = reason or self._import_errors() or "no error"
                raise StackError(f"Airflow has not read the DAG {dag_id} within {timeout_s:g} s ({reason})")
            # Airflow sends no notification when it has parsed a file, so the DAG is polled.
            time.sleep(interval_s)

    def _import_errors(self) -> str:
        """Return each DAG file that Airflow cannot import, with the last line of its error."""
        errors = self.get("/api/v2/importErrors")["import_errors"]
        return "; ".join(f"{error['filename']}: {error['stack_trace'].splitlines()[-1]}" for error in errors)

    def trigger(self, dag_id: str, conf: dict[str, Any]) -> str:
        """Start a run with this configuration; return its run id.

        SQLite may refuse one of several writers at once, and Airflow then answers 500. The request is sent again with
        the same run id, so that there is one run in any case.
        """
        run_id = f"manual__{datetime.now(UTC).isoformat()}_{uuid4().hex[:8]}"
        body = {"logical_date": None, "conf": conf, "dag_run_id": run_id}
        path = f"/api/v2/dags/{_id(dag_id)}/dagRuns"
        response, repeats = self._send_repeatedly("POST", path, json=body)
        if repeats and response.status_code == _CONFLICT:
            return run_id
        return str(self._checked(response)["dag_run_id"])

    def wait_for_run(self, dag_id: str, run_id: str, *, timeout_s: float, results: tuple[str, ...] = ()) -> RunResult:
        """Return the final state of the run and the return values of its tasks.

        The values are those of the DAG's result task and of the tasks in ``results``. Raises ``StackError`` if the
        connection breaks, or if the run has not finished after ``timeout_s`` seconds.
        """
        deadline = time.monotonic() + timeout_s
        path = f"/api/v2/dags/{_id(dag_id)}/dagRuns/{_id(run_id)}/wait"
        params: dict[str, Any] = {"interval": 0.5, **({"result": list(results)} if results else {})}
        state = "unknown"
        try:
            # The run itself may keep the machine busy, so a line may arrive late.
            with self._http.stream("GET", path, params=params, timeout=timeout_s) as lines:
                lines.raise_for_status()
                for line in lines.iter_lines():
                    progress: dict[str, Any] = json.loads(line) if line.strip() else {}
                    state = progress.get("state", state)
                    if state in FINISHED:
                        return RunResult(state, progress.get("results", {}))
                    if time.monotonic() > deadline:
                        break
        except (httpx.HTTPError, ValueError) as error:
            raise StackError(f"Airflow stopped responding while {dag_id}/{run_id} ran ({error})") from error
        raise StackError(f"{dag_id}/{run_id} is still {state} after {timeout_s:g} s")

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Return the task instances of a run, at most 1,000; mapped ones differ in ``map_index``."""
        path = f"/api/v2/dags/{_id(dag_id)}/dagRuns/{_id(run_id)}/taskInstances"
        return list(self.get(path, limit=1000)["task_instances"])

    def get(self, path: str, **params: Any) -> Any:
        """Send a GET to any path of the API and return the JSON of the response."""
        return self._ask("GET", path, params=params)

    def post(self, path: str, body: Any) -> Any:
        """Send a POST to any path of the API and return the JSON of the response."""
        return self._ask("POST", path, json=body)

    def patch(self, path: str, body: Any) -> Any:
        """Send a PATCH to any path of the API and return the JSON of the response."""
        return self._ask("PATCH", path, json=body)

    def _ask(self, method: str, path: str, **options: Any) -> Any:
        if method in ("GET", "PATCH") or path.rpartition("/")[2].startswith("clear"):
            return self._checked(self._send_repeatedly(method, path, **options)[0])
        return self._checked(self._send(method, path, **options))

    def _send_repeatedly(self, method: str, path: str, **options: Any) -> tuple[httpx.Response, int]:
        """Send a request that may be sent again while SQLite refuses it; return the response and the repetitions."""
        response, repeats = self._send(method, path, **options), 0
        while response.status_code == _SERVER_ERROR and repeats + 1 < _SENT_MAX:
            response, repeats = self._send(method, path, **options), repeats + 1
        return response, repeats

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            return self._http.request(method, path, **options)
        except httpx.HTTPError as error:
            raise StackError(f"Airflow at {self.url} does not respond ({error})", hint="./run up airflow") from error

    def _checked(self, response: httpx.Response) -> Any:
        if response.is_error:
            request = response.request
            raise StackError(
                f"Airflow refuses {request.method} {request.url.path} ({response.status_code}): {_detail(response)}"
            )
        return response.json()


def _detail(response: httpx.Response) -> str:
    try:
        return str(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return response.text[:300]


def _id(value: str) -> str:
    return quote(value, safe="")
