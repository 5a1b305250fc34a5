"""The Airflow client: a refused request and an unreachable server are one-line errors."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from local_stack.airflow_client import AirflowClient
from millrace.errors import StackError


class FakeAirflow(BaseHTTPRequestHandler):
    """The part of Airflow's API that the client uses."""

    requests: list[tuple[str, str, Any]]
    waits: list[dict[str, Any]]
    triggered: list[tuple[int, str]]

    def _respond(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        body = json.loads(self.rfile.read(length)) if length else None
        self.requests.append((self.command, self.path, body))
        status, text = self._response(body)
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = _respond

    def _response(self, body: Any) -> tuple[int, str]:
        if self.path == "/auth/token":
            right = body["password"] == "right"
            return (201, '{"access_token": "t"}') if right else (401, '{"detail": "Invalid credentials"}')
        if self.headers["Authorization"] != "Bearer t":
            return 401, "{}"
        if self.path.partition("?")[0].endswith("/wait"):
            return 200, "".join(json.dumps(line) + "\n" for line in self.waits)
        if self.path.endswith("/dagRuns"):
            if body["conf"]:
                return 400, '{"detail": "Invalid input for param x"}'
            return self.triggered.pop(0) if self.triggered else (200, '{"dag_run_id": "a+b"}')
        if self.path.startswith("/api/v2/importErrors"):
            return 200, '{"import_errors": [{"filename": "d.py", "stack_trace": "T\\nKeyError: 1"}]}'
        return 404, "not here"

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    FakeAirflow.requests, FakeAirflow.waits, FakeAirflow.triggered = [], [], []
    with ThreadingHTTPServer(("127.0.0.1", 0), FakeAirflow) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield serving
        serving.shutdown()
        thread.join()


@pytest.fixture
def client(server: ThreadingHTTPServer) -> Iterator[AirflowClient]:
    with AirflowClient(url(server), "admin", "right") as signed_in:
        yield signed_in


def url(server: ThreadingHTTPServer) -> str:
    return f"http://127.0.0.1:{server.server_port}"


def test_a_run_is_triggered_without_a_date_and_its_id_comes_back(client: AirflowClient) -> None:
    assert client.trigger("d", {}) == "a+b"
    method, path, body = FakeAirflow.requests[-1]
    assert (method, path) == ("POST", "/api/v2/dags/d/dagRuns")
    assert body == {"logical_date": None, "conf": {}, "dag_run_id": body["dag_run_id"]}


@pytest.mark.parametrize("second", [(200, '{"dag_run_id": "%s"}'), (409, '{"detail": "exists"}')])
def test_a_trigger_that_the_database_refused_is_sent_again_with_the_same_run_id(
    client: AirflowClient, second: tuple[int, str]
) -> None:
    FakeAirflow.triggered = [(500, '{"detail": "Database error"}'), second]
    run_id = client.trigger("d", {})
    sent = [body["dag_run_id"] for _, path, body in FakeAirflow.requests if path.endswith("/dagRuns")]
    assert len(sent) == 2
    assert len(set(sent)) == 1
    assert run_id == (sent[0] if second[0] == 409 else "%s")


def test_a_trigger_that_the_database_refuses_each_time_raises_an_error(client: AirflowClient) -> None:
    FakeAirflow.triggered = [(500, '{"detail": "Database error"}')] * 9
    with pytest.raises(StackError, match=r"\(500\): Database error"):
        client.trigger("d", {})
    assert len(FakeAirflow.triggered) == 5


@pytest.mark.parametrize(
    ("method", "path", "sent"),
    [("GET", "/api/v2/pools", 2), ("PATCH", "/api/v2/dags/d", 2), ("POST", "/api/v2/dags/d/dagRuns/r/clear", 2)],
)
def test_a_request_that_may_be_repeated_is_sent_again_after_an_error_of_the_database(
    client: AirflowClient, monkeypatch: pytest.MonkeyPatch, method: str, path: str, sent: int
) -> None:
    assert answered(client, monkeypatch, method, path) == ({"done": True}, sent)


def test_another_request_is_not_sent_again(client: AirflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StackError, match=r"\(500\)"):
        answered(client, monkeypatch, "POST", "/api/v2/backfills")


def answered(client: AirflowClient, monkeypatch: pytest.MonkeyPatch, method: str, path: str) -> tuple[Any, int]:
    """Answer the first request with 500; return the final answer, and the number of requests."""
    answers = [(200, {"done": True}), (500, {"detail": "Database error"})]
    sent = []

    def request(*asked: str, **_: Any) -> httpx.Response:
        sent.append(asked)
        status, body = answers.pop()
        return httpx.Response(status, json=body, request=httpx.Request(*asked))

    monkeypatch.setattr(client._http, "request", request)
    ask = client.get if method == "GET" else partial(getattr(client, method.lower()), body={})
    return ask(path), len(sent)


def test_a_refused_request_raises_airflows_own_message(client: AirflowClient) -> None:
    with pytest.raises(StackError, match=r"\(400\): Invalid input for param x"):
        client.trigger("d", {"x": 1})
    with pytest.raises(StackError, match=r"\(404\): not here"):
        client.get("/api/v2/nothing")


def test_a_run_is_waited_for_until_it_ends(client: AirflowClient) -> None:
    FakeAirflow.waits = [{"state": "queued"}, {"state": "running"}, {"state": "success", "results": {"publish": 1}}]
    ended = client.wait_for_run("d", "a+b", timeout_s=30, results=("publish", "warm"))
    assert (ended.state, ended.results) == ("success", {"publish": 1})
    assert FakeAirflow.requests[-1][1] == "/api/v2/dags/d/dagRuns/a%2Bb/wait?interval=0.5&result=publish&result=warm"


def test_a_run_that_never_ends_is_given_up_with_its_last_state(client: AirflowClient) -> None:
    FakeAirflow.waits = [{"state": "running"}]
    with pytest.raises(StackError, match="d/r is still running after"):
        client.wait_for_run("d", "r", timeout_s=30)


def test_a_dag_that_is_never_read_is_given_up_with_the_import_errors(client: AirflowClient) -> None:
    with pytest.raises(StackError, match=r"has not read the DAG d .*d\.py: KeyError: 1"):
        client.wait_for_dag("d", timeout_s=0)


def test_a_dag_is_waited_for_while_airflow_does_not_respond_or_the_dag_is_stale(
    client: AirflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    responses: list[httpx.Response | httpx.HTTPError] = [
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("timed out"),
        httpx.Response(503),
        httpx.Response(200, json={"dag_id": "d", "is_stale": True}),
        httpx.Response(200, json={"dag_id": "d", "is_stale": False}),
    ]

    def get(*_: Any, **__: Any) -> httpx.Response:
        response = responses.pop(0)
        if isinstance(response, httpx.HTTPError):
            raise response
        return response

    monkeypatch.setattr(client._http, "get", get)
    assert client.wait_for_dag("d", interval_s=0.01) == {"dag_id": "d", "is_stale": False}
    assert responses == []


def test_an_airflow_that_never_responds_is_one_error_after_the_timeout(
    client: AirflowClient,
) -> None:
    client._http.base_url = "http://127.0.0.1:1"
    began = time.monotonic()
    with pytest.raises(StackError, match=r"has not read the DAG d within 0\.2 s \(.* does not respond: .*refused"):
        client.wait_for_dag("d", timeout_s=0.2, interval_s=0.05)
    assert 0.2 <= time.monotonic() - began < 5


def test_a_wrong_password_is_a_one_line_error(server: ThreadingHTTPServer) -> None:
    with pytest.raises(StackError, match="Invalid credentials"):
        AirflowClient(url(server), "admin", "wrong")


def test_an_unreachable_airflow_is_a_one_line_error_with_the_start_command() -> None:
    with pytest.raises(StackError, match=r"does not respond .*run up airflow"):
        AirflowClient("http://127.0.0.1:1", "admin", "right")
