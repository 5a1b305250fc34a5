"""``millrace watch``: an address without a bridge is refused at once, and ``--timeout-s`` is kept."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from millrace.cli import main
from tests.ports import free_port
from tests.unit.sse_bridge.world import record

RUN = "cli/flights-3fa9c1"


@contextmanager
def answering(body: str, kind: str = "text/html", stream: str = "") -> Iterator[str]:
    """Serve ``body`` with status 200, or ``stream`` for event requests, and yield the address of the server."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            streams = bool(stream) and self.path.startswith("/events")
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream" if streams else kind)
            self.end_headers()
            self.wfile.write((stream if streams else body).encode())

        def log_message(self, *_args: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize("run", [[RUN], []])
@pytest.mark.parametrize("body", ["<html>hello</html>", "[]", '{"runs": []}', "5"])
def test_a_url_of_another_http_server_is_refused(run: list[str], body: str, capsys: pytest.CaptureFixture[str]) -> None:
    with answering(body) as url:
        assert main(["watch", *run, "--url", url]) == 1
    assert capsys.readouterr().err == f"millrace: {url} is not a bridge: another program responds at this address\n"


def test_an_event_stream_of_another_server_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with answering("event: progress\ndata: hello\n\n", "text/event-stream") as url:
        assert main(["watch", "--url", url, "--timeout-s", "5"]) == 1
    assert capsys.readouterr().err == f"millrace: {url} is not a bridge: another program responds at this address\n"


@pytest.mark.parametrize("run", [[RUN], []])
@pytest.mark.parametrize(
    "url", ["http://[::1", "localhost:8085", "127.0.0.1", "ftp://bridge", "http://", "http://bridge:99999"]
)
def test_an_invalid_url_is_refused(run: list[str], url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["watch", *run, "--url", url]) == 1
    assert capsys.readouterr().err == f"millrace: {url} is not a bridge: its address looks like http://127.0.0.1:8085\n"


@pytest.mark.parametrize("timeout", [[], ["--timeout-s", "30"]])
def test_a_finished_run_is_reported_at_once(timeout: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    event = json.loads(record(state="succeeded", dag="cli", run="flights-3fa9c1"))
    snapshot = json.dumps({"events": [event], "liveness": {"kafka_connected": True, "tasks": []}})
    stream = f"event: snapshot\nid: 1\ndata: {snapshot}\n\nevent: bye\ndata: {json.dumps({'reason': 'over'})}\n\n"
    with answering('{"tasks": [{}]}', stream=stream) as url:
        assert main(["watch", RUN, "--url", url, *timeout, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["over"], answer["succeeded"], answer["tasks"][0]["state"]) == (True, True, "succeeded")


def test_the_ranks_of_a_training_are_lines_with_step_wait_and_loss(capsys: pytest.CaptureFixture[str]) -> None:
    metrics = {"step": 4, "steps": 10, "world_size": 1, "wait_p99_ms": 3.2, "chunks_redis": 1, "loss": 0.25}
    facts = {"kind": "train", "phase": "epoch 1", "metrics": metrics, "total": 10}
    event = json.loads(record("train", 4, "succeeded", dag="cli", run="flights-3fa9c1", **facts))
    snapshot = json.dumps({"events": [event], "liveness": {"kafka_connected": True, "tasks": []}})
    stream = f"event: snapshot\nid: 1\ndata: {snapshot}\n\nevent: bye\ndata: {json.dumps({'reason': 'over'})}\n\n"
    with answering('{"tasks": [{}]}', stream=stream) as url:
        assert main(["watch", RUN, "--url", url]) == 0
    line, _summary = capsys.readouterr().err.splitlines()
    tiers = "process 0 %, Redis 100 %, Cassandra 0 %"
    assert line == f"train succeeded 4 of 10 rows (step 4 of 10, wait p99 3.2 ms, chunks from {tiers}, loss 0.25)"


def test_an_unknown_run_exits_with_124_after_a_timeout_below_five_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    with answering('{"tasks": []}') as url:
        began = time.monotonic()
        assert main(["watch", RUN, "--url", url, "--timeout-s", "0.3"]) == 124
        assert time.monotonic() - began < 3
        output = capsys.readouterr()
        assert output.out + output.err == f"no progress of {RUN} was reported within 0.30 s\n"
        assert main(["watch", RUN, "--url", url, "--timeout-s", "0.3", "--json"]) == 124
        answer = json.loads(capsys.readouterr().out)
    assert (answer["over"], answer["succeeded"], answer["runs"], answer["tasks"]) == (False, False, [], [])


def test_a_run_without_events_for_five_seconds_is_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    with answering('{"tasks": []}') as url:
        assert main(["watch", RUN, "--url", url, "--timeout-s", "60"]) == 2
    assert f"no run {RUN} was reported" in capsys.readouterr().err


def test_an_unreachable_bridge_fails_within_the_timeout(capsys: pytest.CaptureFixture[str]) -> None:
    began = time.monotonic()
    assert main(["watch", RUN, "--url", f"http://127.0.0.1:{free_port()}", "--timeout-s", "0.5"]) == 1
    assert time.monotonic() - began < 3
    assert "does not respond" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["watch", "--timeout-s"], ["init", "--wait-s"]])
@pytest.mark.parametrize("seconds", ["nan", "inf", "-inf", "-1"])
def test_timeouts_must_be_finite_and_not_negative(
    command: list[str], seconds: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, seconds]) == 2
    assert command[1] in capsys.readouterr().err


def test_init_waits_a_day_at_most(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "--print", "--wait-s", "86400"]) == 0
    assert main(["init", "--print", "--wait-s", "86401"]) == 2
    assert "0<=x<=86400" in capsys.readouterr().err
