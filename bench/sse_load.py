"""The clients of ``bench bridge``: one process that holds any number of event streams, publishes, and counts.

``python -m bench.sse_load JOB`` connects, prints a line, waits for a line, publishes ``events`` numbered events at
``rate_per_s``, and prints the counts. An event from ``first`` on that a client never received is lost, for any reason.
An event that arrived again, or was known before, is doubled. Times are of one clock, from just before an event is
handed to the publisher until a client has read it. The only import from the product is the event.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import resource
import select
import socket
import sys
import time
from array import array
from collections.abc import Callable
from typing import Any

__all__ = ["percentile"]

_NUMBER = re.compile(rb'"sequence":"(\d{12})"')
_TAIL_BYTES = 40
_SETTLE_S = 60.0
"""Seconds after the last event in which a client may still receive one before it counts as lost."""
TASKS = 10


def percentile(values: Any, share: float) -> float:
    """Return the smallest value that at least this share of ``values`` do not exceed; 0 without values."""
    ordered = sorted(values)
    return float(ordered[min(len(ordered) - 1, int(len(ordered) * share))]) if ordered else 0.0


class Client:
    """One stream. ``seen[n]`` is 1 once event ``n`` has arrived."""

    __slots__ = ("begun", "seen", "sock", "tail")

    def __init__(self, job: dict[str, Any], *, slow: bool) -> None:
        self.sock = socket.socket()
        if slow:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.sock.settimeout(30)
        self.sock.connect((job["host"], job["port"]))
        lines = [f"GET {job['path']} HTTP/1.1", f"Host: {job['host']}:{job['port']}", "Accept: text/event-stream"]
        lines += [f"{name}: {value}" for name, value in job.get("headers", {}).items()]
        self.sock.sendall("\r\n".join([*lines, "", ""]).encode())
        self.sock.setblocking(False)
        self.tail = b""
        self.seen = bytearray(job["events"] + 1)
        self.begun = False


class Clients:
    """All streams on one epoll. ``sent_s[n]`` is the time at which event ``n`` was published."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.epoll = select.epoll()
        self.by_fd: dict[int, Client] = {}
        self.idle: list[Client] = []
        self.sent_s = array("d", [0.0] * (job["events"] + 1))
        self.delays_s = array("d")
        self.first = job.get("first", 1)
        self.delivered = self.doubled = self.closed = self.begun = 0
        for number in range(job["clients"]):
            slow = number < job.get("slow", 0)
            client = Client(job, slow=slow)
            if slow:
                self.idle.append(client)
                continue
            self.by_fd[client.sock.fileno()] = client
            self.epoll.register(client.sock.fileno(), select.EPOLLIN)
            if number % 50 == 0:
                self.serve(0.0)

    def serve(self, timeout_s: float) -> None:
        """Read the data that arrives within ``timeout_s``."""
        for fd, _ in self.epoll.poll(timeout_s):
            client = self.by_fd[fd]
            try:
                data = client.sock.recv(1 << 18)
            except BlockingIOError:
                continue
            except OSError:
                data = b""
            if not data:
                self.closed += 1
                self.epoll.unregister(fd)
                continue
            self._take(client, client.tail + data, time.monotonic())

    def _take(self, client: Client, data: bytes, now_s: float) -> None:
        if not client.begun and b"\r\n\r\n" in data:
            client.begun = True
            self.begun += 1
        end = 0
        for match in _NUMBER.finditer(data):
            end = match.end()
            number = int(match[1])
            if number >= len(client.seen):
                continue
            if client.seen[number] or number < self.first:
                self.doubled += 1
                continue
            client.seen[number] = 1
            self.delivered += 1
            if self.sent_s[number]:
                self.delays_s.append(now_s - self.sent_s[number])
        client.tail = data[max(end, len(data) - _TAIL_BYTES) :]

    def wait(self, done: Callable[[], bool], timeout_s: float) -> bool:
        """Serve until ``done``; return False if the timeout ends first."""
        deadline = time.monotonic() + timeout_s
        while not done():
            if time.monotonic() > deadline:
                return False
            self.serve(0.05)
        return True


def kafka_publisher(job: dict[str, Any]) -> Callable[[int, bytes], None]:
    """Return a function that publishes as the reporter's sink does.

    The key is the event's source, and all events of a run are in one partition.
    """
    from confluent_kafka import Producer

    config = {"bootstrap.servers": job["kafka"], "linger.ms": 5, "enable.idempotence": True, "log_level": 0}
    producer = Producer(config)
    # The first record waits until the producer is registered with the broker. That time is not measured, and the record
    # is not an event.
    producer.produce(job["topic"], value=b"ready", partition=job["partition"])
    producer.flush(30)

    def publish(number: int, event: bytes) -> None:
        producer.produce(job["topic"], key=f"task-{number % TASKS}", value=event, partition=job["partition"])
        producer.poll(0)

    return publish


def redis_publisher(job: dict[str, Any]) -> Callable[[int, bytes], object]:
    """Return a function that publishes as Flask-SSE's ``publish`` does: its message as JSON on its channel."""
    import redis

    client = redis.Redis.from_url(job["redis"])
    return lambda number, event: client.publish("sse", json.dumps({"data": event.decode(), "type": "progress"}))


def event_of(number: int, padding: int) -> bytes:
    """Return event ``number``: one of ten tasks of one run, as the reporter writes it."""
    from millrace.progress import TaskIdentity, encode_event
    from millrace.progress.event import progress_event

    facts: dict[str, Any] = {
        "kind": "load", "dataset": "flights", "state": "running", "phase": "write", "done": number, "total": None,
        "unit": "rows", "rate": 61_200.0, "elapsed_s": 2.0, "counters": {"chunks": 12}, "metrics": {},
        "message": "x" * padding, "error": None,
    }  # fmt: skip
    identity = TaskIdentity("bench", "fan-out", f"task-{number % TASKS}")
    return encode_event(progress_event(identity, number, time.time(), facts))


def stream(job: dict[str, Any]) -> None:
    """Connect the clients, publish the events and print the counts."""
    began_s = time.monotonic()
    clients = Clients(job)
    if job.get("await_begin", True):
        clients.wait(lambda: clients.begun + clients.closed >= len(clients.by_fd), 60)
    _say({"connected": len(clients.by_fd) - clients.closed, "seconds": time.monotonic() - began_s})
    _served_until_told(clients)
    publish = (redis_publisher if "redis" in job else kafka_publisher)(job) if job["rate_per_s"] else None
    due_s = time.monotonic()
    for number in range(1, job["events"] + 1 if publish else 1):
        due_s += 1 / job["rate_per_s"]
        clients.wait(lambda due_s=due_s: time.monotonic() >= due_s, 60)  # type: ignore[misc]
        event = event_of(number, job.get("padding", 0))
        clients.sent_s[number] = time.monotonic()
        assert publish is not None
        publish(number, event)
    expected = len(clients.by_fd) * (job["events"] - clients.first + 1)
    clients.wait(lambda: clients.delivered >= expected, _SETTLE_S)
    _say(
        {
            "clients": len(clients.by_fd),
            "lost": expected - clients.delivered,
            "doubled": clients.doubled,
            "closed": clients.closed,
            "p50_ms": percentile(clients.delays_s, 0.5) * 1000,
            "p99_ms": percentile(clients.delays_s, 0.99) * 1000,
            "seconds": time.monotonic() - began_s,
        }
    )
    _served_until_told(clients)


def _served_until_told(clients: Clients) -> None:
    """Read until a line arrives on standard input; without this heartbeats would pile up."""
    while not select.select([sys.stdin], [], [], 0)[0]:
        clients.serve(0.05)
    sys.stdin.readline()


def health(job: dict[str, Any]) -> None:
    """Request ``/healthz`` on a new connection twenty times a second until a line arrives on standard input."""
    delays_s = []
    failed = 0
    _say({"connected": 1})
    while not select.select([sys.stdin], [], [], 0.05)[0]:
        began_s = time.monotonic()
        try:
            connection = http.client.HTTPConnection(job["host"], job["port"], timeout=20)
            connection.request("GET", "/healthz")
            failed += connection.getresponse().status != 200
            connection.close()
        except OSError:
            failed += 1
        delays_s.append(time.monotonic() - began_s)
    p99_ms = percentile(delays_s, 0.99) * 1000
    _say({"asked": len(delays_s), "failed": failed, "p50_ms": percentile(delays_s, 0.5) * 1000, "p99_ms": p99_ms})


def _say(result: dict[str, Any]) -> None:
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    _job = json.loads(sys.argv[1])
    if _job["cores"]:
        os.sched_setaffinity(0, _job["cores"])
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    {"stream": stream, "health": health}[_job["what"]](_job)
