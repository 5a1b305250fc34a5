"""A bridge for each test: gunicorn as in production, reading a fresh topic of the real Kafka."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from httpx_sse import EventSource, ServerSentEvent

from local_stack.stack import Stack
from millrace import progress
from millrace.progress.event import encode_event, progress_event
from millrace.settings import KafkaSettings, load_settings
from tests.ports import free_port
from tests.waiting import until

WAIT_S = 30.0
FACTS: dict[str, Any] = {
    "kind": "load", "dataset": "flights", "phase": "", "total": None, "unit": "rows", "rate": None, "elapsed_s": 1.0,
    "counters": {}, "metrics": {}, "message": "", "error": None,
}  # fmt: skip


class Topic:
    """A topic for one test, and a producer for it."""

    def __init__(self, settings: KafkaSettings) -> None:
        self.settings = settings
        self.admin = AdminClient({"bootstrap.servers": settings.bootstrap_servers})
        self._producer = Producer({"bootstrap.servers": settings.bootstrap_servers, "message.max.bytes": 2_000_000})

    def create(self) -> None:
        assert progress.create_topic(self.settings)

    def delete(self) -> None:
        self.admin.delete_topics([self.settings.topic], request_timeout=10)[self.settings.topic].result(timeout=15)

    def say(
        self, task: str = "load", sequence: int = 1, state: str = "running", *, dag: str = "d", run: str = "r",
        attempt: int = 1, flush: bool = True, **facts: Any,
    ) -> dict[str, Any]:  # fmt: skip
        """Send one event of the reporter and return it."""
        identity = progress.TaskIdentity(dag, run, task, attempt=attempt)
        event_facts = {**FACTS, "state": state, "done": sequence, **facts}
        event = progress_event(identity, sequence, time.time(), event_facts)
        self.send(encode_event(event), key=event["source"], dag=dag, run=run, flush=flush)
        return event

    def send(
        self, raw: bytes | None, *, key: str | bytes = "k", dag: str = "d", run: str = "r", flush: bool = True
    ) -> None:
        partition = progress.partition_of(dag, run, self.settings.partitions)
        while True:
            try:
                self._producer.produce(self.settings.topic, key=key, value=raw, partition=partition)
                break
            except BufferError:
                self._producer.poll(0.1)
        if flush:
            self.flush()

    def flush(self) -> None:
        assert self._producer.flush(WAIT_S) == 0


@pytest.fixture
def topic(services: Callable[..., Stack]) -> Iterator[Topic]:
    """Create a topic of three partitions; delete it afterwards."""
    services("kafka")
    topic = Topic(load_settings().kafka.model_copy(update={"topic": f"test-{uuid.uuid4().hex[:12]}"}))
    topic.create()
    yield topic
    topic.delete()


@dataclass
class Bridge:
    """A bridge process."""

    topic: Topic
    log: Path
    settings: dict[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ("-c", "python:sse_bridge.gunicorn_conf")
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, *, ready: bool = True) -> None:
        kafka = self.topic.settings
        env = {
            **os.environ,
            "MILLRACE_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
            "MILLRACE_KAFKA__TOPIC": kafka.topic,
            "MILLRACE_BRIDGE__PORT": str(self.port),
            "MILLRACE_BRIDGE__URL": self.url,
            **{f"MILLRACE_BRIDGE__{name.upper()}": value for name, value in self.settings.items()},
        }
        command = [str(Path(sys.executable).parent / "gunicorn"), *self.options]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, env=env, stdout=log, stderr=log)
        until(lambda: self.answers("/healthz"), "the bridge to serve")
        if ready:
            until(lambda: self.answers("/readyz"), f"the bridge to be ready: {self.log.read_text()}")

    def answers(self, path: str) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()
        try:
            return httpx.get(self.url + path, timeout=5, trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        children = psutil.Process(self.process.pid).children() if self.process.poll() is None else []
        self.process.send_signal(how)
        code = self.process.wait(WAIT_S)
        for child in children:
            if how == signal.SIGKILL and child.is_running():
                child.kill()
            child.wait(WAIT_S)
        self.process = None
        return code

    def get(self, path: str, **options: Any) -> httpx.Response:
        return httpx.get(self.url + path, timeout=WAIT_S, trust_env=False, **options)

    def metric(self, name: str) -> float:
        begins = (f"millrace_bridge_{name} ", f"millrace_bridge_{name}{{")
        lines = self.get("/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(begins))

    @property
    def worker(self) -> psutil.Process:
        assert self.process is not None
        (worker,) = psutil.Process(self.process.pid).children()
        return worker


StartBridge = Callable[..., Bridge]


@pytest.fixture
def start_bridge(topic: Topic, tmp_path: Path) -> Iterator[StartBridge]:
    """Start a bridge on the test's topic, with settings as keywords; all are stopped afterwards."""
    started: list[Bridge] = []

    def start(*, ready: bool = True, **settings: Any) -> Bridge:
        options = {name: str(value) for name, value in settings.items()}
        bridge = Bridge(topic, tmp_path / f"bridge-{len(started)}.log", options)
        started.append(bridge)
        bridge.start(ready=ready)
        return bridge

    yield start
    for bridge in started:
        if bridge.process is not None:
            bridge.stop()


@pytest.fixture
def bridge(start_bridge: StartBridge) -> Bridge:
    """Start a bridge with default settings and wait until it is ready."""
    return start_bridge()


class Stream:
    """An open stream, read by httpx-sse."""

    def __init__(self, url: str, *, cursor: str = "", token: str = "", **params: Any) -> None:
        self._client = httpx.Client(trust_env=False, timeout=httpx.Timeout(5, read=WAIT_S))
        headers = {"Accept": "text/event-stream"}
        if cursor:
            headers["Last-Event-ID"] = cursor
        if token:
            headers["Authorization"] = f"Bearer {token}"
        request = self._client.build_request("GET", url + "/events", headers=headers, params=params)
        self.response = self._client.send(request, stream=True)
        self._events = EventSource(self.response).iter_sse() if self.response.status_code == 200 else iter(())
        self.cursor = cursor

    def next(self, *kinds: str) -> ServerSentEvent:
        """Return the next event of one of these kinds, or of any kind if none is given."""
        while True:
            event = next(self._events)
            self.cursor = event.id or self.cursor
            if event.data and (not kinds or event.event in kinds):
                return event

    def take(self, count: int) -> list[dict[str, Any]]:
        """Return the next ``count`` progress events."""
        return [self.next("progress").json() for _ in range(count)]

    def close(self) -> None:
        self.response.close()
        self._client.close()


@pytest.fixture
def open_stream() -> Iterator[Callable[..., Stream]]:
    """Open a stream of a bridge; all are closed afterwards."""
    opened: list[Stream] = []

    def connect(bridge: Bridge, **options: Any) -> Stream:
        opened.append(Stream(bridge.url, **options))
        return opened[-1]

    yield connect
    for stream in opened:
        stream.close()
