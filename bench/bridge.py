"""``bench bridge``: the bridge of Millrace under thousands of clients, beside Flask-SSE and KafkaSSE."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import redis

from bench.bridge_topic import HISTORY_TASKS, history_event, own_topic, produce, to_kafka
from bench.cluster import services
from bench.data import bench_folder, scratch
from bench.options import Options
from bench.peers import flask_sse, kafkasse
from bench.report import Report
from bench.sse_load import event_of
from bench.sse_server import Load, Server, free_port
from millrace.errors import StackError
from millrace.settings import KafkaSettings, Settings, load_settings

__all__ = ["run"]

CLIENTS = 2_000
RATE_PER_S = 10
SECONDS = 30
IDLE_CLIENTS = 5_000
RETURNING_CLIENTS = 1_000
MISSED_EVENTS = 1_000
HISTORY_EVENTS = 100_000
LARGE_BYTES = 4_000
"""The size of an event. At this size a client that does not read fills its buffers within seconds."""
_UP_S = 180.0
_SATURATED = 0.9
"""The share of its core above which a server is assumed to fall behind the events."""
_AIMS: dict[str, dict[str, float]] = {
    "clients": {"at_least": CLIENTS},
    "p99_ms": {"at_most": 200},
    "healthz_p99_ms": {"at_most": 100},
    "bytes_per_client": {"at_most": 60_000},
}
"""The aims of Millrace's bridge. The figures of the other servers are shown without aims."""


def run(options: Options) -> Report:
    """Run all parts; raise when a server does not start or the load generator fails."""
    report = Report("bridge")
    with services("kafka", "redis"), scratch() as folder:
        settings = load_settings()
        with own_topic(settings.kafka) as topic, _bridge(topic, folder) as bridge:
            _fan_out(report, options, bridge, "Millrace", "", to_kafka(topic))
            _idle(report, options, bridge)
            _returning(report, options, bridge, topic)
        _slow(report, options, settings.kafka, folder)
        with own_topic(settings.kafka) as topic:
            _late(report, options, topic, folder)
        _flask_sse(report, options, settings, folder)
        with own_topic(settings.kafka) as topic:
            _kafkasse(report, options, topic, folder)
    return report


@contextmanager
def _bridge(topic: KafkaSettings, folder: Path) -> Iterator[Server]:
    port = free_port()
    env = {
        "MILLRACE_KAFKA__TOPIC": topic.topic,
        "MILLRACE_KAFKA__BOOTSTRAP_SERVERS": topic.bootstrap_servers,
        "MILLRACE_BRIDGE__PORT": str(port),
        "MILLRACE_BRIDGE__URL": f"http://127.0.0.1:{port}",
    }
    command = [str(Path(sys.executable).with_name("gunicorn")), "-c", "python:sse_bridge.gunicorn_conf"]
    with Server.running("the bridge", command, port, env, folder / "bridge.log", ready="/readyz") as server:
        yield server


def _fan_out(
    report: Report,
    options: Options,
    server: Server,
    name: str,
    suffix: str,
    job: dict[str, Any],
    ready: Callable[[], None] = lambda: None,
    clients: int = 0,
) -> None:
    """Measure 2,000 clients (or ``clients``), 10 events a second for 30 s, with ``/healthz`` requested meanwhile."""
    clients = clients or CLIENTS
    events = RATE_PER_S * SECONDS
    empty = server.memory_bytes()
    with Load("stream", server, clients=clients, events=events, rate_per_s=RATE_PER_S, **job) as load:
        ready()
        with Load("health", server) as health:
            began_s, cpu_s = time.monotonic(), server.cpu_seconds()
            result = load.run(SECONDS * 20)
            share = (server.cpu_seconds() - cpu_s) / (time.monotonic() - began_s)
            healthy = health.run(60)
        grown = server.memory_bytes() - empty
    connected = result["clients"] - result["closed"]
    for key, value in (
        ("clients", connected),
        ("p99_ms", result["p99_ms"]),
        ("healthz_p99_ms", healthy["p99_ms"]),
        ("bytes_per_client", grown / max(connected, 1)),
    ):
        report.number(key + suffix, value, **({} if suffix else _AIMS[key]))
    (report.number if suffix else report.must_be_zero)("lost" + suffix, result["lost"])
    rate = f"{clients:,} clients x {RATE_PER_S} events/s x {SECONDS} s"
    report.add(f"{name}: {rate}: clients held", connected, "clients")
    report.add(f"{name}: events lost, of {clients * events:,}", result["lost"], "events")
    report.add(f"{name}: events that came twice", result["doubled"], "events")
    report.add(f"{name}: produce to client, median", result["p50_ms"], "ms")
    report.add(f"{name}: produce to client, p99", result["p99_ms"], "ms")
    report.add(f"{name}: share of its core that it used", share, "cores")
    if share > _SATURATED:
        report.notes.append(
            f"{name} used {share:.2f} of its core: it did not keep pace. Its p99 is a backlog, which grows with the "
            "time that events come, and a faster core may have none."
        )
    report.add(f"{name}: /healthz, p99 of {healthy['asked']}", healthy["p99_ms"], "ms")
    report.add(f"{name}: /healthz, failed", healthy["failed"], "requests")
    report.add(f"{name}: memory a client", grown / max(connected, 1) / 1000, "KB")
    options.say(f"  {name}: {connected} clients, {result['lost']} lost, p99 {result['p99_ms']:.0f} ms")


def _idle(report: Report, options: Options, bridge: Server) -> None:
    """Measure 5,000 clients that receive only heartbeats, and connections to Kafka with one client and with many."""
    kafka_port = int(load_settings().kafka.bootstrap_servers.rpartition(":")[2])
    with Load("stream", bridge, clients=1, events=0, rate_per_s=0, path="/events"):
        connections_of_one = bridge.connections_to(kafka_port)
    empty = bridge.memory_bytes()
    with Load("stream", bridge, clients=IDLE_CLIENTS, events=0, rate_per_s=0, path="/events") as load:
        connections_of_many = bridge.connections_to(kafka_port)
        time.sleep(20)  # longer than the interval of heartbeats, so that each client received one
        result = load.run(60)
        grown = bridge.memory_bytes() - empty
    connected = result["clients"] - result["closed"]
    report.add(f"idle clients held, of {IDLE_CLIENTS:,}", connected, "clients")
    report.add("idle: time to connect them", load.connected["seconds"], "s")
    report.add("idle: memory a client", grown / max(connected, 1) / 1000, "KB")
    report.add("connections to Kafka, 1 client", connections_of_one, "connections")
    report.add(
        f"connections to Kafka, {IDLE_CLIENTS:,} clients",
        connections_of_many,
        "connections",
        at_most=connections_of_one,
    )
    options.say(f"  {connected} idle clients, {connections_of_one} and {connections_of_many} connections to Kafka")


def _returning(report: Report, options: Options, bridge: Server, topic: KafkaSettings) -> None:
    """Measure 1,000 clients that reconnect at once, 1,000 events behind."""
    url = f"http://127.0.0.1:{bridge.port}/api/progress"
    cursor = httpx.get(url, timeout=30, trust_env=False).json()["cursor"]
    first = RATE_PER_S * SECONDS + 1
    produce(topic, (event_of(first + number, 0) for number in range(MISSED_EVENTS)))
    newest = f"{first + MISSED_EVENTS - 1:012d}"
    _until(lambda: newest in httpx.get(url, timeout=30, trust_env=False).text, "the bridge to read what was produced")
    job: dict[str, Any] = {"path": "/events", "headers": {"Last-Event-ID": cursor}, "await_begin": False}
    last = first + MISSED_EVENTS - 1
    with Load("stream", bridge, clients=RETURNING_CLIENTS, first=first, events=last, rate_per_s=0, **job) as load:
        result = load.run(120)
    words = f"{RETURNING_CLIENTS:,} clients come back, {MISSED_EVENTS:,} events behind"
    report.add(f"{words}: lost", result["lost"], "events", at_most=0)
    report.add("coming back: events that came twice or were known", result["doubled"], "events", at_most=0)
    report.add("coming back: until the last has all", result["seconds"], "s")
    options.say(f"  coming back: {result['lost']} lost, {result['doubled']} doubled, {result['seconds']:.1f} s")


def _slow(report: Report, options: Options, kafka: KafkaSettings, folder: Path) -> None:
    """Measure large events, first with clients that all read, then with 5 % that do not."""
    clients, seconds = 1_000, 20
    job = {"clients": clients, "events": RATE_PER_S * seconds, "rate_per_s": RATE_PER_S, "padding": LARGE_BYTES}
    p99_ms = []
    peaks = []
    for slow in (0, clients // 20):
        with (
            own_topic(kafka) as topic,
            _bridge(topic, folder) as bridge,
            Load("stream", bridge, slow=slow, **to_kafka(topic), **job) as load,
        ):
            result = load.run(seconds * 20)
            peaks.append(bridge.memory_bytes())
        p99_ms.append(result["p99_ms"])
        words = f"{slow} of {clients:,} clients read nothing" if slow else f"all of {clients:,} clients read"
        report.add(f"{words}, events of {LARGE_BYTES / 1000:g} KB: p99 of the others", result["p99_ms"], "ms")
        report.add(f"{words}: lost by the others", result["lost"], "events")
    report.add("5 % not reading: p99 against all reading", p99_ms[1] / max(p99_ms[0], 0.001), "times", at_most=2)
    report.add("5 % not reading: memory against all reading", peaks[1] / peaks[0], "times")
    options.say(f"  5 % not reading: p99 {p99_ms[1]:.0f} ms after {p99_ms[0]:.0f}; memory {peaks[1] / peaks[0]:.2f}")


def _late(report: Report, options: Options, topic: KafkaSettings, folder: Path) -> None:
    """Measure a client that joins after 100,000 events of 200 tasks, at a bridge that has just read them all."""
    produce(topic, map(history_event, range(HISTORY_EVENTS)))
    began_s = time.monotonic()
    with _bridge(topic, folder) as bridge:
        report.add(f"start with {HISTORY_EVENTS:,} events of history", time.monotonic() - began_s, "s")
        joined_s = []
        for _ in range(5):
            began_s = time.monotonic()
            with httpx.stream("GET", f"http://127.0.0.1:{bridge.port}/events", timeout=30, trust_env=False) as answer:
                lines = answer.iter_lines()
                while not (line := next(lines)).startswith("data: "):
                    pass
            joined_s.append(time.monotonic() - began_s)
            known = line.count('"specversion"')
            if known != HISTORY_TASKS:
                raise StackError(f"the late joiner sees {known} tasks, not {HISTORY_TASKS}")
    report.add(f"late joiner: until it has the state of {known} tasks", max(joined_s), "s", at_most=1)
    options.say(f"  late joiner: {max(joined_s):.3f} s")


def _flask_sse(report: Report, options: Options, settings: Settings, folder: Path) -> None:
    try:
        target = flask_sse.install(bench_folder() / "peers")
    except StackError as error:
        report.notes.append(f"{error}; there are no figures of it.")
        return
    report.extra_versions["flask-sse"] = flask_sse.VERSION
    port = free_port()
    url = settings.redis.url.get_secret_value()
    env = flask_sse.environment(target, url)
    subscribers = redis.Redis.from_url(url)
    with Server.running("Flask-SSE", flask_sse.command(port), port, env, folder / "flask-sse.log") as server:
        # It sends no response before its first event, but its Redis counts the subscribers.
        ready = lambda: _until(lambda: dict(subscribers.pubsub_numsub("sse"))[b"sse"] >= CLIENTS, "its clients")  # noqa: E731
        job = {"redis": url, "path": "/stream", "await_begin": False}
        _fan_out(report, options, server, "Flask-SSE", "_flask_sse", job, ready)
    report.notes.append("Flask-SSE keeps no events: who comes late or back has missed them, so it is not asked to.")


def _kafkasse(report: Report, options: Options, topic: KafkaSettings, folder: Path) -> None:
    try:
        options.say("  KafkaSSE is compiled where it was not yet, which takes minutes")
        target = kafkasse.install(bench_folder() / "peers")
    except StackError as error:
        report.notes.append(f"{error}; there are no figures of it.")
        return
    report.extra_versions["kafka-sse"] = kafkasse.VERSION
    port = free_port()
    command = kafkasse.command(port, topic.bootstrap_servers)
    clients = kafkasse.CLIENTS
    with Server.running("KafkaSSE", command, port, {}, folder / "kafkasse.log", folder=target) as server:
        job = {**to_kafka(topic), "path": f"/{topic.topic}"}
        _fan_out(report, options, server, "KafkaSSE", "_kafkasse", job, clients=clients)
    report.notes.append(f"KafkaSSE opens a consumer of Kafka for each client: it is given {clients}, not {CLIENTS:,}.")


def _until(done: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + _UP_S
    while not done():
        if time.monotonic() > deadline:
            raise StackError(f"waited {_UP_S:g} s for {what}")
        time.sleep(0.1)  # polled: another process changes the state, without a notification
