"""Reports are posted to HTTP and Slack connections, by Airflow's own callbacks, and without any secret."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest

from millrace.airflow import notifier
from millrace.airflow.notifier import ReportNotifier, post, slack_text
from millrace.errors import InvalidSettingError, ProgressError, StoreUnavailableError
from tests.unit.airflow.test_assets import REPORT as REPORT_OF_ASSETS

ERROR = {"class": "SourceTypeError", "message": "line 3 is wrong", "hint": "", "retriable": False}
LATE = {"event": "late", "source": "trips", "report": {"reason": "no version was made"}}
REPORT = {
    "dataset": "trips",
    "version": "2-aaaaaa",
    "run": "ingest_trips/r",
    "rows": 1000,
    "rejected": 2,
    "discarded_rows": 0,
    "discarded_values": 0,
}


class Server(ThreadingHTTPServer):
    """Records each request, and responds with ``status``, and with a body for ``body_s``."""

    status = 200
    body_s = 0.0

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[tuple[str, dict[str, str], Any]] = []


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append((self.path, dict(self.headers), body))
        self.send_response(self.server.status)
        self.end_headers()
        ends = time.monotonic() + self.server.body_s
        while time.monotonic() < ends:
            try:
                self.wfile.write(b".")
            except OSError:
                break
            time.sleep(0.05)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server() as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def connection(monkeypatch: pytest.MonkeyPatch, server: Server) -> Any:
    """Return a function that defines the connection ``hook``; its port is that of the server unless given."""

    def define(**fields: Any) -> None:
        port = {} if "://" in str(fields.get("host")) else {"port": server.server_port}
        document = {"conn_type": "http", "host": "127.0.0.1", **port, **fields}
        monkeypatch.setenv("AIRFLOW_CONN_HOOK", json.dumps(document))

    return define


def ended(reason: str = "success", **report: Any) -> dict[str, Any]:
    """Return the context of a callback."""
    pulled = {"publish": {**REPORT, **report} if reason == "success" else None}
    return {
        "dag": SimpleNamespace(dag_id="ingest_trips"),
        "run_id": "r",
        "ti": SimpleNamespace(xcom_pull=lambda task_ids: pulled[task_ids]),
        "reason": reason,
    }


def test_an_event_is_posted_as_json_with_the_headers_of_the_connection(connection: Any, server: Server) -> None:
    connection(host=f"http://127.0.0.1:{server.server_port}/in?x=1", extra={"X-Team": "data", "timeout": 3})
    post("hook", LATE)
    [(path, headers, body)] = server.requests
    assert (path, body) == ("/in?x=1", LATE)
    assert headers["X-Team"] == "data"
    assert headers["Content-Type"] == "application/json"
    assert "timeout" not in headers


@pytest.mark.parametrize(
    ("fields", "authorization"),
    [
        ({"login": "me", "password": "geheim"}, "Basic bWU6Z2VoZWlt"),
        ({"password": "geheim"}, "Bearer geheim"),
        ({}, None),
    ],
)
def test_the_credentials_are_those_of_the_connection(
    connection: Any, server: Server, fields: dict[str, str], authorization: str | None
) -> None:
    connection(**fields)
    post("hook", LATE)
    [(_, headers, body)] = server.requests
    assert headers.get("Authorization") == authorization
    assert "geheim" not in json.dumps(body)


@pytest.mark.parametrize("whole", [False, True])
def test_slack_gets_one_line_of_text_at_the_url_of_its_webhook(connection: Any, server: Server, whole: bool) -> None:
    url = f"http://127.0.0.1:{server.server_port}/services"
    connection(conn_type="slackwebhook", host=url, password=f"{url}/T1/B2/geheim" if whole else "/T1/B2/geheim")
    post("hook", LATE)
    [(path, _, body)] = server.requests
    assert (path, body) == ("/services/T1/B2/geheim", {"text": "trips is late: no version was made"})


def test_a_connection_of_another_type_is_refused(connection: Any) -> None:
    connection(conn_type="smtp")
    with pytest.raises(InvalidSettingError, match="connection hook has the type smtp: reports are posted to"):
        post("hook", LATE)


def test_a_refused_post_is_an_error_without_the_url(connection: Any, server: Server) -> None:
    server.status = 404
    connection(conn_type="slackwebhook", host=f"http://127.0.0.1:{server.server_port}", password="geheim")
    with pytest.raises(ProgressError, match="connection hook answered with HTTP status 404") as caught:
        post("hook", LATE)
    assert "geheim" not in str(caught.value)


def test_a_redirect_is_not_followed(connection: Any, server: Server) -> None:
    server.status = 302
    connection()
    with pytest.raises(ProgressError, match="302"):
        post("hook", LATE)
    assert len(server.requests) == 1


def test_an_unreachable_server_is_an_error_without_the_url(connection: Any) -> None:
    connection(conn_type="slackwebhook", host="http://127.0.0.1:9", password="geheim")
    with pytest.raises(ProgressError, match="not posted to connection hook: ConnectError") as caught:
        post("hook", LATE)
    assert "geheim" not in str(caught.value)


def test_no_log_has_the_url_of_a_webhook(connection: Any, server: Server, caplog: pytest.LogCaptureFixture) -> None:
    connection(conn_type="slackwebhook", host=f"http://127.0.0.1:{server.server_port}", password="geheim")
    with caplog.at_level(logging.INFO, "httpx"):
        post("hook", LATE)
    assert len(server.requests) == 1
    assert "geheim" not in caplog.text


def test_a_response_that_never_ends_is_not_waited_for(connection: Any, server: Server) -> None:
    server.body_s = 5.0
    connection()
    begun = time.monotonic()
    post("hook", LATE)
    assert time.monotonic() - begun < 2


def test_a_header_that_is_not_ascii_is_an_error_without_its_value(connection: Any) -> None:
    connection(extra={"X-Key": "geh\u00e9im"})
    with pytest.raises(ProgressError, match="not posted to connection hook: UnicodeEncodeError") as caught:
        post("hook", LATE)
    assert "geh" not in str(caught.value)


def test_a_failed_run_is_posted_with_the_report_that_the_store_keeps(
    connection: Any, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection()
    failed = replace(REPORT_OF_ASSETS, run="ingest_trips/r", error=ERROR)
    kept = SimpleNamespace(run_report=lambda run: {"ingest_trips/r": failed}[run])
    monkeypatch.setattr(notifier, "connect", lambda: nullcontext(kept))
    ReportNotifier(connection="hook", source="trips")(ended("task_failure"))
    [(_, _, body)] = server.requests
    assert (body["event"], body["source"]) == ("failed", "trips")
    assert body["report"] == {"reason": "task_failure", **json.loads(json.dumps(failed.to_json()))}
    assert slack_text(body) == "The load of trips failed: line 3 is wrong (ingest_trips/r)"


def test_a_failed_run_without_a_report_is_posted_with_the_reason_of_airflow(
    connection: Any, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable() -> None:
        raise StoreUnavailableError("no node responds")

    connection()
    monkeypatch.setattr(notifier, "connect", unreachable)
    ReportNotifier(connection="hook", source="trips")(ended("task_failure"))
    [(_, _, body)] = server.requests
    assert body["report"] == {"state": "failed", "run": "ingest_trips/r", "reason": "task_failure"}


@pytest.mark.parametrize("name", ["rejected", "discarded_rows", "discarded_values"])
def test_a_run_with_rejects_is_posted_with_its_report(connection: Any, server: Server, name: str) -> None:
    connection()
    ReportNotifier(connection="hook", source="trips")(ended(**{"rejected": 0, name: 7}))
    [(_, _, body)] = server.requests
    assert (body["event"], body["source"]) == ("rejects", "trips")
    assert body["report"] == {"state": "succeeded", **REPORT, "rejected": 0, name: 7}


def test_a_run_without_rejects_is_not_posted(connection: Any, server: Server) -> None:
    connection()
    ReportNotifier(connection="hook", source="trips")(ended(rejected=0))
    assert server.requests == []


def test_each_event_has_a_line_of_text() -> None:
    failed = {"event": "failed", "source": "trips", "report": {"run": "ingest_trips/r", "reason": "task_failure"}}
    assert slack_text(failed) == "The load of trips failed: task_failure (ingest_trips/r)"
    assert slack_text({"event": "rejects", "source": "trips", "report": REPORT}) == (
        "trips: trips@2-aaaaaa has 1,000 rows; 2 rows were rejected, 0 rows and 0 values were discarded "
        "(ingest_trips/r)"
    )
