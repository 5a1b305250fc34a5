from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from pydantic import SecretStr

import sse_bridge
from millrace.errors import InvalidSettingError
from millrace.settings import BridgeSettings, Settings
from sse_bridge.app import create_app
from sse_bridge.bridge import Bridge
from sse_bridge.consumer import Batch, Begin, BrokerDown, BrokerUp
from sse_bridge.records import Incoming, parse_record
from sse_bridge.security import check_exposure, is_loopback
from tests.unit.sse_bridge.world import record

STATIC = Path(sse_bridge.__file__).parent / "static"
TOKEN = "a-token-that-nobody-guesses"


def served(**bridge_settings: Any) -> tuple[FlaskClient, Bridge]:
    settings = Settings(bridge=BridgeSettings(**bridge_settings))
    bridge = Bridge(settings)
    return create_app(settings, bridge=bridge).test_client(), bridge


def feed(bridge: Bridge, *raws: bytes) -> None:
    bridge.handle(Begin("0000000a", (0,)))
    bridge.handle(BrokerUp(time.time()))
    records = [Incoming(0, offset, raw, parse_record(raw), 1.0) for offset, raw in enumerate(raws)]
    bridge.handle(Batch(list(records), caught_up=True))


def test_the_bridge_is_ready_after_the_topic_was_read_and_while_kafka_responds() -> None:
    client, bridge = served()
    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").status_code == 503
    assert client.get("/api/progress").status_code == 503
    feed(bridge, record())
    assert client.get("/readyz").status_code == 200
    bridge.handle(BrokerDown("all brokers are down"))
    answer = client.get("/readyz")
    assert (answer.status_code, "all brokers are down" in answer.text) == (503, True)
    assert client.get("/healthz").status_code == 200
    assert client.get("/api/progress").status_code == 200
    assert "Kafka does not respond" in client.get("/").text


def test_the_snapshot_has_the_events_and_the_derived_task_states() -> None:
    client, bridge = served()
    raw = record("load", 7, total=10)
    feed(bridge, raw, record("warm", 1, "failed", error={"type": "E", "message": "x"}))
    body = client.get("/api/progress").json
    assert body is not None
    assert body["cursor"] == "0000000a.2"
    assert body["events"][0] == json.loads(raw)
    assert [(task["task_id"], task["state"], task["done"]) for task in body["tasks"]] == [
        ("load", "running", 7),
        ("warm", "failed", 1),
    ]
    assert body["tasks"][1]["error"] == {"type": "E", "message": "x"}
    only = client.get("/api/progress?task_id=warm").json
    assert only is not None
    assert [event["data"]["task_id"] for event in only["events"]] == ["warm"]


def test_the_page_without_javascript_has_a_row_for_every_task() -> None:
    client, bridge = served()
    feed(bridge, record("load", 250_000, total=1_000_000, rate=50_000.0, elapsed_s=5.0, phase="write"))
    page = client.get("/").text
    for text in ("250,000 of 1,000,000 rows", "50,000/s", "about 15 s", "write", ">running<", 'value="0.25"'):
        assert text in page
    assert '<meta http-equiv="refresh" content="5">' in page


def test_the_start_page_shows_50_tasks_of_a_run_and_the_page_of_the_run_shows_all() -> None:
    client, bridge = served()
    states = ["failed" if number == 70 else "succeeded" for number in range(1_000)]
    feed(bridge, *(record(f"task-{number:04}", 1, state) for number, state in enumerate(states)))
    beside, alone = client.get("/").text, client.get("/runs/d/r").text
    assert [page.count('<th scope="row">') for page in (beside, alone)] == [50, 1_000]
    assert "task-0070" in beside
    assert '<a href="/runs/d/r">950 further tasks</a>' in beside
    assert "further tasks" not in alone
    assert "1,000 of 1,000 tasks ended" in beside


def test_the_page_of_the_datasets_is_made_by_a_script_of_its_own_and_links_to_the_runs() -> None:
    client, bridge = served()
    feed(bridge, record())
    page = client.get("/datasets")
    assert (page.status_code, page.headers["Cache-Control"]) == (200, "no-store")
    assert '<script type="module" src="/static/datasets_page.js"></script>' in page.text
    assert '<a href="/datasets" aria-current="page">Datasets</a>' in page.text
    assert "JavaScript shows the datasets here." in page.text
    runs = client.get("/").text
    assert '<a href="/" aria-current="page">Runs</a> <a href="/datasets">Datasets</a>' in runs


@pytest.mark.parametrize(("path", "script"), [("/", "page"), ("/datasets", "datasets_page")])
def test_a_page_announces_each_module_that_its_script_imports(path: str, script: str) -> None:
    client, _ = served()
    announced = set(re.findall(r'rel="modulepreload" href="/static/(\w+).js"', client.get(path).text))
    imported: set[str] = set()
    waiting = [script]
    while waiting:
        text = (STATIC / f"{waiting.pop()}.js").read_text()
        names = set(re.findall(r'from "\./(\w+)\.js"', text)) - imported
        imported |= names
        waiting += names
    assert announced == imported


RESULT = {
    "dataset": "flights", "version": "2-3fa9c1", "kind": "table", "mode": "append", "rows": 400_000,
    "total_rows": 800_000, "raw_bytes": 12_345_678, "stored_bytes": 3_000_000,
    "columns": [["<b>a</b>", "int64"], ["b \ud800", "string"]], "columns_total": 5_000,
}  # fmt: skip


def test_the_page_of_a_run_without_javascript_has_its_result_and_links_to_airflow() -> None:
    client, bridge = served()
    facts: dict[str, Any] = {"kind": "publish", "result": RESULT}
    feed(bridge, record("publish", 1, "succeeded", **facts), record("load", 1, run="mine", dag="cli", **facts))
    page = client.get("/runs/d/r").text
    for name, value in (
        ("Version", "flights@2-3fa9c1"),
        ("Rows added", "400,000"),
        ("Rows in the version", "800,000"),
        ("Raw size", "12.3 MB"),
        ("Stored size", "3.0 MB"),
        ("&lt;b&gt;a&lt;/b&gt;", "int64"),
        ("b ?", "string"),
    ):
        assert f'<th scope="row">{name}</th><td>{value}</td>' in page
    assert "4,998 further columns" in page
    assert 'href="http://127.0.0.1:8080/dags/d/runs/r"' in page
    assert 'href="http://127.0.0.1:8080/dags/d/runs/r/tasks/publish?try_number=1"' in page
    assert "flights@2-3fa9c1" not in client.get("/").text
    assert "http://127.0.0.1:8080/dags" not in client.get("/runs/cli/mine").text


def test_amounts_in_bytes_are_shown_with_byte_units() -> None:
    client, bridge = served()
    feed(bridge, record("load", 12_300_000, unit="bytes", total=2_000_000_000))
    assert "12.3 MB of 2.0 GB" in client.get("/").text


def test_every_response_has_security_headers() -> None:
    client, bridge = served(airflow_origins=("http://airflow.example:8080",))
    feed(bridge)
    for path in ("/", "/healthz", "/api/progress", "/metrics", "/static/page.js", "/no/such/page"):
        with client.get(path) as answer:  # closes a static file
            headers = answer.headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'self' http://airflow.example:8080" in policy
        assert "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "X-Frame-Options" not in headers
        assert "Access-Control-Allow-Origin" not in headers


def test_the_page_has_no_inline_script_and_no_inline_style() -> None:
    client, bridge = served()
    feed(bridge, record())
    page = client.get("/").text
    assert "<style" not in page
    assert " style=" not in page
    assert " on" not in page.replace(" on ", "").partition("<body")[2].partition(">")[0]
    assert page.count("<script") == page.count('<script type="module" src=') == 1


@pytest.mark.parametrize("path", ["/events", "/api/progress"])
@pytest.mark.parametrize("query", ["dag=x", "until=never", "until=terminal&quiet_s=-1", "until=terminal&quiet_s=nan"])
def test_an_invalid_query_is_refused(path: str, query: str) -> None:
    client, bridge = served()
    feed(bridge)
    if path == "/api/progress" and query.startswith("until"):
        return
    assert client.get(f"{path}?{query}").status_code == 400


def test_another_host_name_is_refused_on_loopback() -> None:
    client, bridge = served()
    feed(bridge)
    for host, status in (
        ("evil.example", 421),
        ("127.0.0.1:8085", 200),
        ("localhost", 200),
        ("x", 200),
        ("[::1]:1", 200),
    ):
        assert client.get("/api/progress", headers={"Host": host}).status_code == status


# -- access


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org"])
def test_an_address_reachable_from_other_machines_needs_a_token_or_a_proxy(host: str) -> None:
    with pytest.raises(InvalidSettingError, match="MILLRACE_BRIDGE__HOST"):
        check_exposure(BridgeSettings(host=host))
    check_exposure(BridgeSettings(host=host, token=SecretStr(TOKEN)))
    check_exposure(BridgeSettings(host=host, user_header="X-Forwarded-User"))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_loopback_needs_no_token(host: str) -> None:
    assert is_loopback(host)
    check_exposure(BridgeSettings(host=host))


def test_a_short_token_is_refused_without_being_shown() -> None:
    with pytest.raises(InvalidSettingError) as caught:
        check_exposure(BridgeSettings(token=SecretStr("hunter2")))
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("origin", ["http://a b", "http://a;script-src *", "*", "a.example", "http://a/path", "'none'"])
def test_an_invalid_origin_is_refused(origin: str) -> None:
    with pytest.raises(InvalidSettingError, match="origin"):
        check_exposure(BridgeSettings(airflow_origins=(origin,)))
    with pytest.raises(InvalidSettingError, match="origin"):
        check_exposure(BridgeSettings(cors_origin=origin))


def test_the_token_is_accepted_only_as_a_header() -> None:
    client, bridge = served(token=TOKEN)
    feed(bridge)
    for path in ("/", "/api/progress", "/events", "/metrics", "/runs/a/b"):
        assert client.get(path).status_code == 401
        assert client.get(path, query_string={"token": TOKEN}).status_code in (400, 401)
        assert client.get(path, headers={"Authorization": "Bearer wrong-but-just-as-long-x"}).status_code == 401
        assert client.get(path, headers={"Authorization": "Bearer \u00e9"}).status_code == 401
    assert client.get("/api/progress", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
    for path in ("/healthz", "/readyz", "/static/page.css"):
        with client.get(path) as answer:
            assert answer.status_code == 200


def test_a_browser_signs_in_once_and_gets_a_cookie_that_no_script_can_read() -> None:
    client, bridge = served(token=TOKEN)
    feed(bridge)
    # The Accept header of Chromium.
    accept = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
    asked = client.get("/runs/a/b?x=1", headers={"Accept": accept})
    assert asked.status_code == 302
    assert client.get("/runs/a/b?x=1", headers={"Accept": "*/*"}).status_code == 401
    where = asked.headers["Location"]
    assert where.startswith("/sign-in?next=")
    assert client.get(where).status_code == 200
    assert client.post(where, data={"token": "wrong"}).status_code == 403
    assert client.get("/api/progress").status_code == 401
    signed_in = client.post(where, data={"token": TOKEN})
    assert (signed_in.status_code, signed_in.headers["Location"]) == (302, "/runs/a/b?x=1")
    cookie = signed_in.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert TOKEN not in cookie
    assert client.get("/api/progress").status_code == 200


def test_a_cookie_made_with_another_token_is_refused() -> None:
    old, bridge = served(token=TOKEN)
    feed(bridge)
    cookie = old.post("/sign-in", data={"token": TOKEN}).headers["Set-Cookie"].partition(";")[0]
    new, bridge = served(token="another-token-of-today")
    feed(bridge)
    assert new.get("/api/progress", headers={"Cookie": cookie}).status_code == 401


def test_signing_in_without_a_configured_token_is_refused() -> None:
    client, _ = served(user_header="X-Forwarded-User")
    assert client.post("/sign-in", data={"token": ""}).status_code == 403


@pytest.mark.parametrize("target", ["//evil.example", "https://evil.example", "/\\evil.example", "/a\nb", ""])
def test_signing_in_redirects_only_to_pages_of_the_bridge(target: str) -> None:
    client, _ = served(token=TOKEN)
    answer = client.post("/sign-in", query_string={"next": target}, data={"token": TOKEN})
    assert answer.headers["Location"] == "/"


def test_a_proxy_names_the_user_in_its_header() -> None:
    client, bridge = served(host="0.0.0.0", user_header="X-Forwarded-User")
    feed(bridge)
    assert client.get("/api/progress").status_code == 401
    assert client.get("/api/progress", headers={"X-Forwarded-User": " "}).status_code == 401
    assert client.get("/api/progress", headers={"X-Forwarded-User": "ann"}).status_code == 200


def test_only_the_configured_origin_may_read() -> None:
    client, bridge = served(cors_origin="https://board.example")
    feed(bridge)
    for origin, allowed in (("https://board.example", True), ("https://evil.example", False)):
        headers = client.get("/api/progress", headers={"Origin": origin}).headers
        assert ("Access-Control-Allow-Origin" in headers) is allowed
        assert "Origin" in headers["Vary"]


# -- streams


def first_bytes(client: FlaskClient, path: str, **headers: str) -> bytes:
    answer = client.get(path, headers=headers, buffered=False)
    data = next(answer.iter_encoded())
    answer.close()
    return data


def test_a_stream_begins_with_a_reconnection_time_and_a_snapshot() -> None:
    client, bridge = served()
    feed(bridge, record())
    text = first_bytes(client, "/events").decode()
    assert text.startswith(": millrace\nretry: ")
    assert "\nid: 0000000a.1\nevent: snapshot\ndata: {" in text
    assert len(bridge.streams) == 0


def test_a_stream_that_was_never_read_is_released_when_it_is_closed() -> None:
    client, bridge = served(max_streams=1)
    feed(bridge)
    answer = client.get("/events", buffered=False)
    assert len(bridge.streams) == 1
    assert client.get("/events").status_code == 503
    answer.close()
    answer.close()
    assert len(bridge.streams) == 0
    assert b"snapshot" in first_bytes(client, "/events")


def test_limits_of_addresses_and_runs_are_counted_separately() -> None:
    client, bridge = served(max_streams_per_address=2, max_streams_per_run=1)
    feed(bridge)
    open_ones = [client.get("/events?dag_id=d&run_id=r", buffered=False)]
    assert client.get("/events?dag_id=d&run_id=r").status_code == 503
    open_ones.append(client.get("/events", buffered=False))
    refused = client.get("/events")
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
    other = client.get("/events", buffered=False, environ_base={"REMOTE_ADDR": "10.0.0.9"})
    assert other.status_code == 200
    for answer in (*open_ones, other):
        answer.close()
    metrics = client.get("/metrics").text
    assert 'millrace_bridge_streams_refused_total{limit="run"} 1.0' in metrics
    assert 'millrace_bridge_streams_refused_total{limit="address"} 1.0' in metrics
    assert "millrace_bridge_streams 0.0" in metrics


def test_ids_with_slashes_are_found_on_each_page() -> None:
    client, bridge = served()
    feed(bridge, record("a/b", 1, run="x/y", dag="d%2Fe"))
    for path in ("/runs/d%252Fe/x%2Fy", "/runs/d%252Fe/x%2fy/a%2Fb"):
        page = client.get(path).text
        assert "No progress was reported" not in page
        assert 'data-run-id="x/y"' in page
        assert 'href="/runs/d%252Fe/x%2Fy/a%2Fb"' in page
    assert "No progress was reported" in client.get("/runs/d/e/x/y").text


def test_a_run_shows_the_total_of_its_main_step_and_the_number_of_ended_tasks() -> None:
    client, bridge = served()
    feed(
        bridge,
        record("plan", 1, "succeeded", kind="plan", unit="splits", total=2, elapsed_s=0.5),
        record("load", 3, total=8, elapsed_s=5.0),
        record("more", 2, "succeeded", total=2, elapsed_s=4.0),
    )
    page = client.get("/").text
    assert "load: 5 of 10 rows" in page
    assert 'max="1" value="0.5"' in page
    assert "2 of 3 tasks ended" in page
    feed(bridge, record("load", 3, total=8), record("more", 2, total=None))
    assert "load: 5 rows" in client.get("/").text


def test_the_api_lists_runs_newest_first_with_state_total_and_headline() -> None:
    client, bridge = served()
    planned = {"load": {"splits": 10, "total": 100, "unit": "rows"}}
    feed(
        bridge,
        record("old", 1, "succeeded", run="before", total=1),
        record("plan", 1, "succeeded", kind="plan", unit="splits", result=planned),
        record("load", 30, total=40, rate=10.0, elapsed_s=6.0),
    )
    body = client.get("/api/progress").json
    assert body is not None
    newest, older = body["runs"]
    assert (older["run_id"], older["state"], older["over"]) == ("before", "succeeded", True)
    assert (newest["state"], newest["over"], newest["tasks"], newest["ended"]) == ("running", False, 2, 1)
    assert newest["steps"] == ["plan", "load"]
    assert newest["headline"] == "load: 30 of 100 rows"
    assert newest["total"] == {
        "kind": "load",
        "unit": "rows",
        "done": 30,
        "total": 100,
        "fraction": 0.3,
        "rate": 10.0,
        "left_s": 7.0,
    }
    page = client.get("/").text
    assert "load: 30 of 100 rows, 10/s, about 7 s left" in page
