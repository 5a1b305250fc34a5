"""Follow progress from the bridge, over HTTP, until the run is over."""

from __future__ import annotations

import json
import random
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import httpx
from httpx_sse import EventSource, ServerSentEvent, SSEError

from millrace.errors import ProgressError
from millrace.progress import RUN_QUIET_S, Event, RunKey, RunState, RunStates, TaskState, state_of_run
from millrace.settings import run_hint

READ_TIMEOUT_S: Final = 40.0
"""Time without any event or heartbeat (sent every 15 s) after which the client reconnects."""
FIRST_RESPONSE_S: Final = 10.0
POLL_INTERVAL_S: Final = 0.25
BACKOFF_S: Final = (0.2, 0.5, 1.0, 2.0, 5.0)
OWN_RUN_QUIET_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Watched:
    """State of all tasks when ``events`` ended; ``over`` is false if it ended by its timeout."""

    tasks: tuple[TaskState, ...]
    over: bool

    @property
    def succeeded(self) -> bool:
        """Return whether the run is over and each task succeeded or was skipped."""
        return self.over and all(task.state in ("succeeded", "skipped") for task in self.tasks)


class Watcher:
    """Current state of the runs as received from the bridge; ``events`` keeps it up to date."""

    def __init__(
        self, url: str, *, dag_id: str | None = None, run_id: str | None = None, token: str | None = None
    ) -> None:
        self.run_states = RunStates()
        self.timeouts: dict[str, str] = {}
        """``stalled`` or ``lost`` by source, as reported by the bridge."""
        self.kafka_connected = True
        """Whether the bridge is connected to Kafka."""
        self.connected = False
        self.over = False
        self._url = _bridge_address(url)
        filters = {"dag_id": dag_id, "run_id": run_id}
        self._params: dict[str, str] = {name: value for name, value in filters.items() if value is not None}
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._cursor = ""
        self._deadline = float("inf")
        self._socket: socket.socket | None = None

    @property
    def one_run(self) -> bool:
        """Return whether the watcher follows a single run."""
        return "run_id" in self._params

    def tasks(self, run: RunKey | None = None) -> Iterator[TaskState]:
        """Yield every task, with state ``stalled`` or ``lost`` where the bridge reports it."""
        for task in self.run_states.tasks(run):
            state = self.timeouts.get(task.source, "running")
            if task.state == "running" and state != "running":
                yield TaskState(task.key, task.attempt, state, task.error, task.data, task.source)
            else:
                yield task

    def runs(self) -> Iterator[RunState]:
        """Yield every run that has tasks, the one with the latest event first."""
        for run in self.run_states.runs():
            yield state_of_run(run, self.tasks(run))

    def wait_until_reported(self, timeout_s: float, *, first_response_s: float = FIRST_RESPONSE_S) -> bool:
        """Wait until the bridge has an event of a matching task; return False if there is none after ``timeout_s``.

        Raises ``ProgressError`` if the bridge refuses the request, or does not respond for ``first_response_s`` or
        ``timeout_s``, whichever is longer.
        """
        deadline = time.monotonic() + timeout_s
        first_response_deadline = time.monotonic() + max(timeout_s, first_response_s)
        with httpx.Client(headers=self._headers, trust_env=False, timeout=5.0) as client:
            while True:
                try:
                    response = client.get(f"{self._url}/api/progress", params=self._params)
                    if response.status_code != 503:
                        self._check(response)
                        if self._object(response.text, "tasks")["tasks"]:
                            return True
                        if time.monotonic() > deadline:
                            return False
                    elif time.monotonic() > first_response_deadline:
                        raise httpx.ConnectError(f"it is not ready: {response.text.strip()[:200]}")
                except httpx.TransportError as error:
                    if time.monotonic() > first_response_deadline:
                        raise self._unresponsive(error) from error
                time.sleep(POLL_INTERVAL_S)

    def result(self) -> Watched:
        """Return the current state."""
        return Watched(tuple(self.tasks()), self.over)

    def finish(self, *, quiet_s: float = 0.5, timeout_s: float = 10.0) -> None:
        """Declare the run to be over; ``events`` then ends once all of its events have arrived. Thread-safe.

        That is when every known task has ended and no event arrived for ``quiet_s``, or after ``timeout_s`` at the
        latest: the end of a task that vanished may never be reported.
        """
        self._params |= {"until": "terminal", "quiet_s": str(quiet_s)}
        self._deadline = min(self._deadline, time.monotonic() + timeout_s)
        if self._socket is not None:
            # Wakes the thread that reads from it, which then reconnects at its cursor.
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def events(self, *, until_done: bool = True, timeout_s: float | None = None) -> Iterator[Event | None]:
        """Yield every new event as it arrives; ``None`` for another change (liveness, the connection).

        Ends when the run is over or the timeout expires, and blocks between two events. A broken connection is resumed
        by cursor. With ``until_done`` a run is over when every known task has ended and no event of it arrived for 2 s,
        or for 15 s unless the command line or Python started it: a scheduler is slow.

        Raises ``ProgressError`` if the bridge does not respond at first, or refuses the request.
        """
        if until_done:
            is_own_run = self._params.get("dag_id") in ("cli", "python")
            self._params |= {"until": "terminal", "quiet_s": str(OWN_RUN_QUIET_S if is_own_run else RUN_QUIET_S)}
        if timeout_s is not None:
            self._deadline = min(self._deadline, time.monotonic() + timeout_s)
        first_deadline = time.monotonic() + FIRST_RESPONSE_S
        failures = 0
        with httpx.Client(headers=self._headers, trust_env=False) as client:
            while not self.over and time.monotonic() < self._deadline:
                try:
                    for event in self._one_connection(client):
                        failures = 0
                        yield event
                    pause = 0.0
                except (httpx.TransportError, SSEError) as error:
                    if not self._cursor and isinstance(error, SSEError):
                        raise _no_bridge(self._url) from error
                    if not self._cursor and time.monotonic() > min(first_deadline, self._deadline):
                        raise self._unresponsive(error) from error
                    pause = BACKOFF_S[min(failures, len(BACKOFF_S) - 1)] * random.uniform(0.5, 1.5)  # noqa: S311
                    failures += 1
                if self.connected:
                    self.connected = False
                    yield None
                time.sleep(max(0.0, min(pause, self._deadline - time.monotonic())))

    def _unresponsive(self, error: Exception) -> ProgressError:
        return ProgressError(
            f"the bridge at {self._url} does not respond ({error})",
            hint=f"set MILLRACE_BRIDGE__URL, or start the bridge{run_hint('up bridge')}",
            url=self._url,
        )

    def _object(self, text: str, *names: str) -> dict[str, Any]:
        """Return the JSON object that a bridge sent; raise ``ProgressError`` unless it has these names."""
        try:
            body = json.loads(text)
        except ValueError:
            raise _no_bridge(self._url) from None
        if not isinstance(body, dict) or any(name not in body for name in names):
            raise _no_bridge(self._url)
        return body

    def _check(self, response: httpx.Response) -> None:
        if response.status_code != 200:
            lines = response.read().decode("utf-8", "replace").strip().splitlines()
            raise ProgressError(
                f"the bridge at {self._url} refused: {response.status_code} {lines[0][:200] if lines else ''}",
                hint="set MILLRACE_BRIDGE__TOKEN to its token" if response.status_code == 401 else "",
                url=self._url,
            )

    def _one_connection(self, client: httpx.Client) -> Iterator[Event | None]:
        params = dict(self._params)
        read_timeout_s = min(READ_TIMEOUT_S, max(self._deadline - time.monotonic(), 0.1))
        timeout = httpx.Timeout(5.0, read=read_timeout_s)
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
        if self._cursor:
            headers["Last-Event-ID"] = self._cursor
        with client.stream("GET", f"{self._url}/events", params=params, headers=headers, timeout=timeout) as response:
            if response.status_code == 503:
                raise httpx.ConnectError("it accepts no further stream at the moment")
            self._check(response)
            self.connected = True
            self._socket = response.extensions["network_stream"].get_extra_info("socket")
            if params != self._params:
                return  # ``finish`` was called while this connection was being made
            for message in EventSource(response).iter_sse():
                if message.id:
                    self._cursor = message.id
                # An id or a comment alone is parsed as an event without data.
                if message.data:
                    yield from self._apply(message)
                if self.over or time.monotonic() > self._deadline:
                    return

    def _apply(self, message: ServerSentEvent) -> Iterator[Event | None]:
        body = self._object(message.data)
        if message.event in ("snapshot", "reset"):
            previous = self.run_states
            self.run_states = RunStates()
            for event in body["events"]:
                self.run_states.apply(event)
                latest = previous.sources.get(event["source"])
                if latest is None or latest.sequence < event["sequence"]:
                    yield event
            self._apply_liveness(body["liveness"])
            yield None
        elif message.event == "progress":
            if self.run_states.apply(body) == "new":
                self.timeouts.pop(body["source"], None)
                yield body
        elif message.event == "liveness":
            self._apply_liveness(body)
            yield None
        elif message.event == "bye":
            self.over = body.get("reason") == "over"

    def _apply_liveness(self, liveness: dict[str, Any]) -> None:
        self.kafka_connected = bool(liveness["kafka_connected"])
        self.timeouts = {task["source"]: task["state"] for task in liveness["tasks"]}


def _bridge_address(url: str) -> str:
    """Return the address without a slash at its end; raise ``ProgressError`` unless it is an HTTP URL."""
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL:
        parts = httpx.URL()
    if parts.scheme not in ("http", "https") or not parts.host or not 0 < (parts.port or 80) < 65_536:
        raise _no_bridge(url, "its address looks like http://127.0.0.1:8085")
    return url.rstrip("/")


def _no_bridge(url: str, hint: str = "another program responds at this address") -> ProgressError:
    return ProgressError(f"{url} is not a bridge", hint=hint, url=url)
