from __future__ import annotations

import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from local_stack.stack import Stack
from millrace import progress
from millrace.cli.watcher import Watched
from millrace.progress import encode_event
from tests.integration.sse_bridge.conftest import FACTS, WAIT_S, Bridge, StartBridge, Stream, Topic
from tests.ports import free_port
from tests.unit.sse_bridge.whatwg import EventStreamParser
from tests.waiting import until
from tests.watching import watch

OpenStream = Callable[..., Stream]


def numbers(events: list[dict[str, Any]]) -> list[int]:
    return [int(event["sequence"]) for event in events]


def test_a_stream_begins_with_a_snapshot_and_then_has_every_event_unchanged(
    topic: Topic, bridge: Bridge, open_stream: OpenStream
) -> None:
    before = topic.say("load", 1)
    until(lambda: bridge.metric("sources") == 1, "the first event")
    stream = open_stream(bridge)
    assert stream.response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert stream.response.headers["cache-control"] == "no-store"
    assert stream.response.headers["x-accel-buffering"] == "no"
    snapshot = stream.next("snapshot")
    assert snapshot.json()["events"] == [before]
    assert snapshot.json()["cursor"] == snapshot.id
    after = [topic.say("load", number) for number in range(2, 20)]
    assert stream.take(18) == after


def test_a_client_that_reconnects_gets_the_missed_events(topic: Topic, bridge: Bridge, open_stream: OpenStream) -> None:
    first = open_stream(bridge)
    first.next("snapshot")
    for number in range(1, 4):
        topic.say("load", number)
    assert numbers(first.take(3)) == [1, 2, 3]
    first.close()
    for number in range(4, 1004):
        topic.say("load", number, flush=False)
    topic.flush()
    for option in ({"cursor": first.cursor}, {"last_event_id": first.cursor}):
        assert numbers(open_stream(bridge, **option).take(1000)) == list(range(4, 1004))


def test_a_cursor_holds_across_a_restart_of_the_bridge(topic: Topic, bridge: Bridge, open_stream: OpenStream) -> None:
    stream = open_stream(bridge)
    stream.next("snapshot")
    for number in range(1, 6):
        topic.say("load", number, run=f"r{number % 2}")
    stream.take(5)
    assert bridge.stop() == 0
    for number in range(6, 11):
        topic.say("load", number, run=f"r{number % 2}")
    bridge.start()
    again = open_stream(bridge, cursor=stream.cursor)
    assert sorted(numbers(again.take(5))) == [6, 7, 8, 9, 10]


def test_a_killed_bridge_starts_again_with_the_same_state(topic: Topic, bridge: Bridge) -> None:
    topic.say("load", 5, "succeeded")
    until(lambda: bridge.get("/api/progress").json()["tasks"], "the event")
    before = bridge.get("/api/progress").json()
    bridge.stop(signal.SIGKILL)
    bridge.start()
    after = bridge.get("/api/progress").json()
    assert (after["tasks"], after["events"], after["cursor"]) == (before["tasks"], before["events"], before["cursor"])


@pytest.mark.parametrize("cursor", ["nonsense", "00000000.1.1.1", "{epoch}.999999.0.0", "{epoch}.0"])
def test_an_invalid_cursor_gets_a_reset(topic: Topic, bridge: Bridge, open_stream: OpenStream, cursor: str) -> None:
    topic.say("load", 1)
    until(lambda: bridge.metric("sources") == 1, "the event")
    epoch = bridge.get("/api/progress").json()["cursor"].split(".")[0]
    reset = open_stream(bridge, cursor=cursor.format(epoch=epoch)).next()
    assert reset.event == "reset"
    assert numbers(reset.json()["events"]) == [1]


def test_a_topic_that_was_created_again_resets_every_stream(
    topic: Topic, bridge: Bridge, open_stream: OpenStream
) -> None:
    topic.say("old", 1)
    stream = open_stream(bridge)
    stream.next("snapshot")
    topic.delete()
    until(lambda: topic.settings.topic not in topic.admin.list_topics(timeout=10).topics, "the topic to go")
    until(lambda: bridge.get("/readyz").status_code == 503, "the bridge to notice")
    assert bridge.get("/healthz").status_code == 200
    topic.create()
    until(lambda: bridge.answers("/readyz"), "the bridge to find the new topic")
    topic.say("new", 1)
    stream.next("reset")
    assert [event["data"]["task_id"] for event in stream.take(1)] == ["new"]
    tasks = bridge.get("/api/progress").json()["tasks"]
    assert [task["task_id"] for task in tasks] == ["new"]


def test_every_client_that_joins_while_events_flow_sees_each_once(topic: Topic, bridge: Bridge) -> None:
    total, clients = 400, 40
    results: list[list[int]] = [[] for _ in range(clients)]

    def follow(index: int) -> None:
        stream = Stream(bridge.url)
        try:
            snapshot = stream.next("snapshot").json()["events"]
            last = max(numbers(snapshot), default=0)
            results[index].append(last)
            while last < total:
                last = numbers(stream.take(1))[0]
                results[index].append(last)
        finally:
            stream.close()

    threads = [threading.Thread(target=follow, args=[index]) for index in range(clients)]
    for number in range(1, total + 1):
        if number % 10 == 1 and number // 10 < clients:
            threads[number // 10].start()
        topic.say("load", number, flush=number % 10 == 0)
    topic.flush()
    for thread in threads:
        thread.join(60)
    for seen in results:
        assert seen == list(range(seen[0], total + 1))
    assert len({seen[0] for seen in results}) > 5


def offsets_sum(cursor: str) -> int:
    """Return the number of records before this cursor, over all partitions."""
    return sum(map(int, cursor.split(".")[1:]))


def test_filters_are_applied_by_the_server_and_move_the_cursor(
    topic: Topic, bridge: Bridge, open_stream: OpenStream
) -> None:
    mine = open_stream(bridge, dag_id="d", run_id="mine")
    both = open_stream(bridge, kind=["warm", "load"], dataset="flights")
    for stream in (mine, both):
        stream.next("snapshot")
    before = offsets_sum(bridge.get("/api/progress").json()["cursor"])
    topic.say("load", 1, run="other")
    topic.say("load", 1, run="other", dag="e")
    topic.say("verify", 1, run="other", kind="verify")
    topic.say("warm", 1, run="mine", kind="warm")
    (event,) = mine.take(1)
    assert (event["data"]["run_id"], event["data"]["task_id"]) == ("mine", "warm")
    # The runs are in different partitions, between which there is no order.
    assert sorted(event["data"]["task_id"] for event in both.take(3)) == ["load", "load", "warm"]
    # Filtered events move the cursor too, so that they are not replayed to this client.
    for number in range(2, 30):
        topic.say("load", number, run="other")
    written = 4 + 28
    until(lambda: offsets_sum(bridge.get("/api/progress").json()["cursor"]) == before + written, "the events")
    topic.say("warm", 2, "succeeded", run="mine", kind="warm")
    mine.take(1)
    assert offsets_sum(mine.cursor) == before + written + 1
    found = bridge.get("/api/progress", params={"task_id": "verify"}).json()
    assert [task["task_id"] for task in found["tasks"]] == ["verify"]
    assert len(found["events"]) == 1


def test_a_client_whose_filter_passes_nothing_still_gets_the_cursor(topic: Topic, bridge: Bridge) -> None:
    parser = EventStreamParser()
    with httpx.stream("GET", bridge.url + "/events?run_id=none", timeout=30, trust_env=False) as answer:
        topic.say("load", 1)
        until(lambda: bridge.metric("sources") == 1, "the event")
        goal = bridge.get("/api/progress").json()["cursor"]
        for piece in answer.iter_raw():
            parser.feed(piece)
            if parser.last_event_id == goal:
                break
    assert [message.type for message in parser.messages] == ["snapshot"]


def test_a_misspelt_filter_is_refused(bridge: Bridge) -> None:
    for path in ("/events", "/api/progress"):
        answer = bridge.get(path, params={"dagid": "x"})
        assert answer.status_code == 400
        assert "dag_id" in answer.text


def test_ndjson_streams_of_an_ended_run_have_snapshot_and_bye(topic: Topic, bridge: Bridge) -> None:
    headers = {"Accept": "application/x-ndjson"}
    params = {"dag_id": "cli", "run_id": "r", "until": "terminal", "quiet_s": "0"}
    said = [topic.say("load", 1, dag="cli"), topic.say("load", 2, "succeeded", dag="cli")]
    until(lambda: bridge.metric("sources") == 1, "the events")
    with httpx.stream(
        "GET", bridge.url + "/events", params=params, headers=headers, timeout=30, trust_env=False
    ) as answer:
        assert answer.headers["content-type"] == "application/x-ndjson"
        lines = [json.loads(line) for line in answer.iter_lines()]
    assert [line["type"] for line in lines] == ["snapshot", "bye"]
    assert lines[0]["events"] == said[1:]
    assert lines[1]["reason"] == "over"


def test_two_dags_with_the_same_run_id_never_mix(topic: Topic, bridge: Bridge) -> None:
    run = "scheduled__2026-11-22T00:00:00+00:00"
    topic.say("load", 1, "failed", dag="a", run=run, error={"type": "E", "message": "x"})
    topic.say("load", 1, "succeeded", dag="b", run=run)
    until(lambda: bridge.metric("sources") == 2, "both")
    states = {}
    for dag in "ab":
        tasks = bridge.get("/api/progress", params={"dag_id": dag, "run_id": run}).json()["tasks"]
        states[dag] = [task["state"] for task in tasks]
    assert states == {"a": ["failed"], "b": ["succeeded"]}


def test_a_late_event_of_a_dead_attempt_never_overwrites_a_newer_one(topic: Topic, bridge: Bridge) -> None:
    topic.say("load", 5, attempt=2)
    topic.say("load", 9, attempt=1)
    topic.say("load", 1, attempt=2)
    until(lambda: bridge.metric("events") == 3, "three records")
    (task,) = bridge.get("/api/progress").json()["tasks"]
    assert (task["attempt"], task["done"]) == (2, 5)


def test_invalid_records_are_skipped_and_counted(topic: Topic, bridge: Bridge, open_stream: OpenStream) -> None:
    stream = open_stream(bridge)
    stream.next("snapshot")
    for raw in (b"\xff\x00", b"{}", b"null", b"[" * 50_000, b'{"specversion":"1.0"}', b"9" * 6_000):
        topic.send(raw)
    topic.send(None, key="/never/heard/of")
    topic.say("load", 1)
    assert numbers(stream.take(1)) == [1]
    assert 'millrace_bridge_events{result="poison"} 6.0' in bridge.get("/metrics").text
    assert 'millrace_bridge_events{result="deleted"} 1.0' in bridge.get("/metrics").text


NASTY = "<img src=x onerror=alert(1)>\r\n\nevent: forged\ndata: {}\n\n\u2028\u2029\x85\0\ufeff" + "x" * 100_000


def test_hostile_text_in_every_field_stays_in_its_frame_and_is_text_on_the_page(
    topic: Topic, bridge: Bridge, open_stream: OpenStream
) -> None:
    stream = open_stream(bridge)
    stream.next("snapshot")
    error = {"type": NASTY, "message": NASTY}
    texts: dict[str, Any] = {
        "dataset": NASTY,
        "phase": NASTY,
        "unit": NASTY,
        "message": NASTY,
        "kind": NASTY,
        "metrics": {NASTY: 1.0},
    }
    event = topic.say(NASTY[:90], 1, "failed", dag=NASTY[:90], run=NASTY[:90], error=error, **texts)
    assert stream.take(1) == [event]
    page = bridge.get("/")
    assert page.status_code == 200
    assert "<img src=x" not in page.text
    assert "&lt;img src=x onerror=alert(1)&gt;" in page.text


def test_a_lone_surrogate_breaks_neither_stream_nor_page(topic: Topic, bridge: Bridge, open_stream: OpenStream) -> None:
    stream = open_stream(bridge)
    stream.next("snapshot")
    event = topic.say("load", 1, "failed", message="\ud800", error={"type": "\udfff", "message": "\ud800x"})
    assert stream.take(1) == [event]
    assert bridge.get("/").status_code == 200
    assert bridge.get("/api/progress").json()["tasks"][0]["state"] == "failed"


def test_a_task_without_events_is_stalled_then_lost_and_runs_again_with_its_next_event(
    topic: Topic, start_bridge: StartBridge, open_stream: OpenStream
) -> None:
    bridge = start_bridge(stalled_after_s=2, lost_after_s=4)
    stream = open_stream(bridge)
    stream.next("snapshot")
    topic.say("load", 1)
    topic.say("done", 1, "succeeded")

    def judged() -> list[str]:
        body = stream.next("liveness").json()
        assert body["kafka_connected"] is True
        return [task["state"] for task in body["tasks"]]

    states = [judged() for _ in range(2)]
    assert states[-2:] == [["stalled"], ["lost"]]
    shown = {task["task_id"]: task["state"] for task in bridge.get("/api/progress").json()["tasks"]}
    assert shown == {"load": "lost", "done": "succeeded"}
    late = open_stream(bridge).next("snapshot").json()
    assert [task["state"] for task in late["liveness"]["tasks"]] == ["lost"]
    topic.say("load", 2)
    assert judged() == ["running"]
    until(lambda: bridge.get("/api/progress").json()["tasks"][0]["state"] == "running", "the task to be back")


def test_after_a_restart_a_task_without_events_is_lost_by_its_last_event_time(
    topic: Topic, start_bridge: StartBridge
) -> None:
    bridge = start_bridge(stalled_after_s=2, lost_after_s=3)
    topic.say("load", 1)

    def heard_s() -> float:
        (silent,) = bridge.get("/api/progress").json()["liveness"]["tasks"]
        return datetime.fromisoformat(silent["received"]).timestamp()

    until(lambda: bridge.get("/api/progress").json()["tasks"], "the event")
    before_s = heard_s()
    bridge.stop()
    until(lambda: time.time() - before_s > 2, "a silence that a restart could be mistaken for the end of")
    bridge.start()
    assert abs(heard_s() - before_s) < 1
    until(lambda: bridge.get("/api/progress").json()["tasks"][0]["state"] == "lost", "the silence")


@pytest.mark.skipif("MILLRACE_KAFKA__BOOTSTRAP_SERVERS" in os.environ, reason="cannot freeze a Kafka it did not start")
def test_while_kafka_is_frozen_no_task_is_lost_and_the_bridge_is_not_ready(
    topic: Topic, start_bridge: StartBridge, open_stream: OpenStream, services: Callable[..., Stack]
) -> None:
    stalled_after_s, lost_after_s = 4, 5
    bridge = start_bridge(stalled_after_s=stalled_after_s, lost_after_s=lost_after_s)
    stream = open_stream(bridge)
    stream.next("snapshot")
    topic.say("load", 1)
    stream.take(1)
    stack = services("kafka")
    frozen = threading.Event()

    def keep_saying() -> None:
        # Keep the last event recent until Kafka freezes, however slow the machine is.
        for sequence in itertools.count(2):
            topic.say("load", sequence, flush=False)
            if frozen.wait(0.2):
                return

    talker = threading.Thread(target=keep_saying)
    talker.start()
    try:
        stack.freeze("kafka")
        frozen_s = time.monotonic()
        frozen.set()
        body = stream.next("liveness").json()
        assert body["kafka_connected"] is False
        assert body["disconnect_reason"]
        assert [task["state"] for task in body["tasks"]] == ["running"]
        assert bridge.get("/readyz").status_code == 503
        assert bridge.get("/healthz").status_code == 200
        until(lambda: time.monotonic() - frozen_s > lost_after_s + 1, "a silence long enough to be lost in")
        assert bridge.get("/api/progress").json()["tasks"][0]["state"] == "running"
    finally:
        frozen.set()
        talker.join()
        stack.thaw("kafka")
    assert stream.next("liveness").json()["kafka_connected"] is True
    until(lambda: bridge.answers("/readyz"), "the bridge to hear again")
    topic.say("load", 1_000_000)
    # After a long outage the consumer may have lost its offset; every client then gets a new snapshot.
    until(lambda: '"sequence":"000001000000"' in stream.next("progress", "reset").data, "the newest event")


def test_too_many_streams_are_refused_and_health_checks_are_not(
    topic: Topic, start_bridge: StartBridge, open_stream: OpenStream
) -> None:
    bridge = start_bridge(max_streams=4, max_streams_per_run=2)
    run = {"dag_id": "d", "run_id": "r"}
    streams = [open_stream(bridge, **run) for _ in range(3)]
    assert [stream.response.status_code for stream in streams] == [200, 200, 503]
    assert int(streams[2].response.headers["retry-after"]) > 0
    more = [open_stream(bridge) for _ in range(3)]
    assert [stream.response.status_code for stream in more] == [200, 200, 503]
    assert bridge.get("/healthz").status_code == 200
    streams[0].close()
    until(lambda: bridge.metric("streams") == 3, "the place to be free")
    assert open_stream(bridge, **run).response.status_code == 200


def test_no_stream_is_counted_after_many_clients_disconnected_in_every_way(bridge: Bridge) -> None:
    for number in range(300):
        with socket.create_connection(("127.0.0.1", bridge.port)) as client:
            client.sendall(b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            if number % 3:
                client.recv(200 if number % 3 == 1 else 10)
            if number % 2:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # close with RST
    until(lambda: bridge.metric("streams") == 0, "the streams to end")
    assert bridge.metric("streams_opened_total") == 300


def test_a_client_that_reads_nothing_is_disconnected_and_does_not_affect_others(
    topic: Topic, bridge: Bridge, open_stream: OpenStream
) -> None:
    reader = open_stream(bridge)
    reader.next("snapshot")
    with socket.create_connection(("127.0.0.1", bridge.port)) as lazy:
        lazy.sendall(b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        until(lambda: bridge.metric("streams") == 2, "both streams")
        memory = bridge.worker.memory_info().rss
        for number in range(1, 301):
            topic.say("load", number, message="x" * 50_000, flush=number % 10 == 0)
        assert numbers(reader.take(300)) == list(range(1, 301))
        until(lambda: bridge.metric("streams") == 1, "the lazy one to be cut")
        assert 'closed_total{reason="blocked"} 1.0' in bridge.get("/metrics").text
        # The ring holds the 15 MB once for all clients.
        assert bridge.worker.memory_info().rss - memory < 120_000_000


def test_sigterm_sends_bye_to_every_stream_and_ends_within_five_seconds(topic: Topic, bridge: Bridge) -> None:
    topic.say("load", 1)
    with ExitStack() as opened:
        streams = [opened.enter_context(socket.create_connection(("127.0.0.1", bridge.port))) for _ in range(500)]
        for stream in streams:
            stream.settimeout(WAIT_S)
            stream.sendall(b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        until(lambda: bridge.metric("streams") == 500, "all of them to be open")
        began = time.monotonic()
        assert bridge.stop() == 0
        assert time.monotonic() - began < 5
        for stream in streams:
            said = b"".join(iter(lambda stream=stream: stream.recv(65536), b""))  # type: ignore[misc]
            assert said.endswith(b"0\r\n\r\n")  # the last chunk of the HTTP body, so it is complete
            body = said.partition(b"\r\n\r\n")[2]
            begun, bye = body.split(b"event: snapshot")[1], body.split(b"event: bye")[1]
            assert b'"sequence":"000000000001"' in begun
            assert b'data: {"reason":"shutdown"}' in bye
            assert re.search(rb"retry: [0-9]+\nid: [0-9a-f]{8}\.[0-9.]+\nevent: bye", body)


def test_a_stream_ends_at_its_age_and_can_be_resumed(
    topic: Topic, start_bridge: StartBridge, open_stream: OpenStream
) -> None:
    bridge = start_bridge(max_age_s=2)
    stream = open_stream(bridge)
    stream.next("snapshot")
    topic.say("load", 1)
    stream.take(1)
    assert stream.next("bye").json() == {"reason": "max-age"}
    topic.say("load", 2)
    assert numbers(open_stream(bridge, cursor=stream.cursor).take(1)) == [2]


def test_the_number_of_kafka_connections_does_not_depend_on_the_clients(
    topic: Topic, bridge: Bridge, open_stream: OpenStream
) -> None:
    port = int(topic.settings.bootstrap_servers.rpartition(":")[2])

    def connections() -> int:
        return sum(1 for c in bridge.worker.net_connections() if c.raddr and c.raddr.port == port)

    open_stream(bridge).next("snapshot")
    before = until(connections, "the consumer's connection")
    for _ in range(60):
        open_stream(bridge).next("snapshot")
    assert connections() <= before


def test_state_is_rebuilt_from_the_topic_before_a_client_is_served(
    topic: Topic, start_bridge: StartBridge, open_stream: OpenStream
) -> None:
    for number in range(1, 101):
        for task in range(200):
            state = "succeeded" if number == 100 else "running"
            topic.say(f"t{task}", number, state, run=f"r{task % 7}", flush=False)
    topic.flush()
    bridge = start_bridge()
    snapshot = open_stream(bridge).next("snapshot").json()
    assert {(event["data"]["done"], event["data"]["state"]) for event in snapshot["events"]} == {(100, "succeeded")}
    assert len(snapshot["events"]) == 200


def test_a_stream_opened_before_the_bridge_is_ready_waits_for_its_snapshot(
    topic: Topic, start_bridge: StartBridge, open_stream: OpenStream
) -> None:
    topic.delete()
    until(lambda: topic.settings.topic not in topic.admin.list_topics(timeout=10).topics, "the topic to go")
    bridge = start_bridge(ready=False)
    assert bridge.get("/readyz").status_code == 503
    answer = bridge.get("/api/progress")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert bridge.get("/").status_code == 200
    stream = open_stream(bridge)
    topic.create()
    assert stream.next().event == "snapshot"


def test_a_non_loopback_address_without_a_token_is_refused_at_the_start(topic: Topic) -> None:
    env = {
        **os.environ,
        "MILLRACE_BRIDGE__HOST": "0.0.0.0",
        "MILLRACE_BRIDGE__PORT": str(free_port()),
        "MILLRACE_KAFKA__BOOTSTRAP_SERVERS": topic.settings.bootstrap_servers,
    }
    gunicorn = str(Path(sys.executable).parent / "gunicorn")
    for options in (["-c", "python:sse_bridge.gunicorn_conf"], ["-k", "gevent", "-b", f"127.0.0.1:{free_port()}"]):
        command = [gunicorn, *options, "--no-control-socket", "sse_bridge.app:create_app()"]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode != 0
        assert "MILLRACE_BRIDGE__TOKEN" in done.stderr


def test_a_token_is_required_and_never_logged(start_bridge: StartBridge, open_stream: OpenStream) -> None:
    token = "a-token-that-nobody-guesses"
    bridge = start_bridge(ready=False, token=token)
    until(lambda: bridge.answers("/readyz"), "the bridge")
    assert bridge.get("/api/progress").status_code == 401
    assert bridge.get("/events").status_code == 401
    assert bridge.get("/api/progress", params={"token": token}).status_code == 401
    assert bridge.get("/api/progress", headers={"Authorization": f"Bearer {token}"}).status_code == 200
    assert open_stream(bridge, token=token).next().event == "snapshot"
    assert watch(bridge.url, "cli", "r", timeout_s=0.5, token=token) == Watched((), over=False)
    assert token not in bridge.log.read_text()


def test_gunicorns_own_gevent_worker_serves_streams(topic: Topic, tmp_path: Path, open_stream: OpenStream) -> None:
    port = free_port()
    options = ("-k", "gevent", "-b", f"127.0.0.1:{port}", "--graceful-timeout", "2", "--no-control-socket")
    bridge = Bridge(topic, tmp_path / "plain.log", options=(*options, "sse_bridge.app:create_app()"), port=port)
    bridge.start()
    try:
        stream = open_stream(bridge)
        stream.next("snapshot")
        topic.say("load", 1)
        assert numbers(stream.take(1)) == [1]
        began = time.monotonic()
    finally:
        assert bridge.stop() == 0
    assert time.monotonic() - began < 5


def test_a_real_task_is_watched_from_beginning_to_end(topic: Topic, bridge: Bridge) -> None:
    sink = progress.kafka_sink(topic.settings)
    seen: list[str] = []
    result: list[Watched] = []

    def follow() -> None:
        kinds = watch(
            bridge.url, "cli", "flights-1", on_event=lambda e: seen.append(e["data"].get("state", "")), timeout_s=60
        )
        result.append(kinds)

    watcher = threading.Thread(target=follow)
    watcher.start()
    until(lambda: bridge.metric("streams") == 1, "the watcher")
    identity = progress.TaskIdentity("cli", "flights-1", "load")
    with progress.task(identity, kind="load", dataset="flights", total=3, sinks=[sink]) as task:
        for _ in range(3):
            task.advance(1)
            task.phase(f"phase {_}")
        assert sink.flush(10)  # type: ignore[attr-defined]
        bridge.stop()
        bridge.start()
        task.phase("after the restart")
    sink.close()
    watcher.join(60)
    assert result[0].succeeded
    (state,) = result[0].tasks
    assert (state.state, state.data["done"]) == ("succeeded", 3)
    assert seen[-1] == "succeeded"


def test_watch_of_a_failed_run_ends_with_its_error(topic: Topic, bridge: Bridge) -> None:
    topic.say("load", 1, "succeeded", dag="cli")
    topic.say("warm", 1, "failed", dag="cli", error={"type": "StoreError", "message": "no node answers"})
    env = {**os.environ, "MILLRACE_BRIDGE__URL": bridge.url}
    command = [sys.executable, "-m", "millrace", "watch", "cli/r", "--json", "--timeout-s", "60"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 1, done.stderr
    body = json.loads(done.stdout)
    assert (body["over"], body["succeeded"]) == (True, False)
    assert {task["task_id"]: task["state"] for task in body["tasks"]} == {"load": "succeeded", "warm": "failed"}
    done = subprocess.run(
        [*command[:-3], "--timeout-s", "60"], env=env, capture_output=True, text=True, timeout=90, check=False
    )
    assert done.returncode == 1
    assert "\nwarm failed" in done.stderr
    assert "StoreError: no node answers" in done.stderr


def watched(bridge: Bridge, run: str, *options: str) -> tuple[int, str, float]:
    """Run ``millrace watch``; return its exit code, standard error and seconds."""
    env = {**os.environ, "MILLRACE_BRIDGE__URL": bridge.url}
    command = [sys.executable, "-m", "millrace", "watch", run, *options]
    began = time.monotonic()
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=90, check=False)
    return done.returncode, done.stderr, time.monotonic() - began


def airflow_says(topic: Topic, task: str, state: str, step: int, *, begun: bool = True) -> None:
    identity = progress.TaskIdentity("ingest_dataset", "r", task)
    place = progress.TaskPosition(step, leaf=task == "warm")
    event = progress.airflow_event(identity, state, time_s=time.time(), begun=begun, position=place)
    topic.send(encode_event(event), key=event["source"], dag="ingest_dataset")


def test_watch_distinguishes_ended_running_and_unknown_runs(topic: Topic, bridge: Bridge) -> None:
    for step, task in enumerate(("load", "warm")):
        airflow_says(topic, task, "queued", step, begun=False)
    airflow_says(topic, "load", "running", 0)
    topic.say("load", 5, total=10, dag="ingest_dataset")
    until(lambda: bridge.metric("sources") == 3, "the events")
    code, said, seconds = watched(bridge, "ingest_dataset/r", "--timeout-s", "1.5")
    assert code == 124
    assert "still running after 1.50 s: load: 5 of 10 rows" in said
    code, said, seconds = watched(bridge, "ingest_dataset/another")
    assert (code, seconds < 15) == (2, True)
    assert said.startswith("millrace: no run ingest_dataset/another was reported")
    topic.say("load", 10, "succeeded", total=10, dag="ingest_dataset")
    airflow_says(topic, "load", "succeeded", 0)
    airflow_says(topic, "warm", "skipped", 1, begun=False)
    until(lambda: bridge.get("/api/progress").json()["runs"][0]["over"], "the end")
    code, said, seconds = watched(bridge, "ingest_dataset/r")
    assert code == 0
    assert said.endswith("load: 10 rows loaded (1 succeeded, 1 skipped)\n")
    # One second passes until the run is certainly over; the rest is the start of the process.
    assert seconds < 5
    topic.say("load", 1, "failed", dag="cli", run="x", error={"type": "E", "message": "no such file"})
    until(lambda: bridge.metric("sources") == 4, "the failed run")
    code, said, seconds = watched(bridge, "cli/x")
    assert (code, seconds < 6) == (1, True)
    assert said.endswith("load: failed, no such file (1 failed)\n")


def foreign(run: str, task: str = "step", **facts: Any) -> dict[str, Any]:
    """Return an event of another producer."""
    source = f"/python/python/{run}/{task}/-1/1"
    who = {"dag_id": "python", "run_id": run, "task_id": task, "map_index": -1, "attempt": 1}
    data = {**who, **FACTS, "kind": "train", "state": "running", "done": 1, "total": 4, "elapsed_s": 9.0, **facts}
    head = {"specversion": "1.0", "type": "millrace.progress.v1", "source": source, "id": f"{source}#000000000001"}
    rest = {"subject": source[1:-2], "sequence": "000000000001", "time": "2026-01-02T03:04:05.678Z"}
    return {**head, **rest, "datacontenttype": "application/json", "data": data}


def test_events_of_one_producer_do_not_break_others_and_go_when_their_record_is_deleted(
    topic: Topic, bridge: Bridge, open_stream: OpenStream
) -> None:
    stream = open_stream(bridge)
    stream.next("snapshot")
    topic.say("load", 3, total=10)
    assert numbers(stream.take(1)) == [3]
    half = foreign("half \ud800")
    large = 17 * 10**307
    poison: dict[str, bytes] = {
        "overflow": json.dumps(foreign("overflow", extra="X"), indent=1).replace('"X"', "1e999").encode(),
        "left": json.dumps(foreign("left", done=5, rate=1e-320)).encode(),
        "sum a": json.dumps(foreign("sum", "a", done=large, total=large)).encode(),
        "sum b": json.dumps(foreign("sum", "b", done=large, total=large)).encode(),
        "half": json.dumps(half).encode(),
        "text": json.dumps(foreign("text", message="half \ud800")).encode(),
    }
    for number, (name, raw) in enumerate(poison.items(), 4):
        key = json.loads(raw)["source"].encode("utf-8", "surrogatepass")
        topic.send(raw, key=key)
        topic.say("load", number, total=10)
        assert numbers(stream.take(1 if name not in ("left", "text") else 2))[-1] == number
        for path in ("/", "/api/progress"):
            assert bridge.get(path).status_code == 200, (name, path)
        assert f"{number} of 10 rows" in bridge.get("/").text
        late = open_stream(bridge)
        late.next("snapshot")
        late.close()
        lines = bridge.get("/api/progress").json()
        assert ("d", "r") in {(run["dag_id"], run["run_id"]) for run in lines["runs"]}
        topic.send(None, key=key)
        until(lambda: bridge.metric("sources") == 1, f"the deletion of {name}")
    assert 'millrace_bridge_events{result="poison"} 4.0' in bridge.get("/metrics").text


def test_the_page_shows_a_run_and_a_notice_for_an_unknown_one(topic: Topic, bridge: Bridge) -> None:
    run = "manual__2026-11-22T15:57:20.850814+00:00"
    topic.say("load", 30, run=run, total=120, dag="ingest_dataset", message="writing chunk 3")
    until(lambda: bridge.metric("sources") == 1, "the event")
    for path in (
        "/",
        "/runs/ingest_dataset/manual__2026-11-22T15%3A57%3A20.850814%2B00%3A00",
        "/runs/ingest_dataset/manual__2026-11-22T15:57:20.850814+00:00/load",
        "/runs/ingest_dataset/manual__2026-11-22T15%3A57%3A20.850814%2B00%3A00/load/%7BMAP_INDEX%7D",
    ):
        page = bridge.get(path)
        assert page.status_code == 200
        assert "30 of 120 rows" in page.text, path
        assert "writing chunk 3" in page.text
        assert '<progress aria-label="load" max="1" value="0.25">' in page.text
    for path in ("/runs/ingest_dataset/other", f"/runs/other/{run}", f"/runs/ingest_dataset/{run}/load/3"):
        page = bridge.get(path)
        assert page.status_code == 200
        assert "No progress was reported for this" in page.text
        assert "30 of 120" not in page.text
    policy = page.headers["content-security-policy"]
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'self' http://127.0.0.1:" in policy
    assert "x-frame-options" not in page.headers
    for name in ("page.js", "run_states.js", "formatting.js", "feed.js", "page.css", "icon.svg"):
        assert bridge.get(f"/static/{name}").status_code == 200


def test_the_histogram_measures_the_delay_of_events(topic: Topic, bridge: Bridge, open_stream: OpenStream) -> None:
    stream = open_stream(bridge)
    stream.next("snapshot")
    for number in range(1, 6):
        topic.say("load", number)
        stream.take(1)
    text = bridge.get("/metrics").text
    assert "millrace_bridge_produce_to_send_seconds_count" in text
    count = bridge.metric("produce_to_send_seconds_count")
    assert count >= 1
    assert bridge.metric("produce_to_send_seconds_sum") / count < 10
