"""A topic, a bridge and clients without a network: the real parts with simulated connections."""

from __future__ import annotations

import json
from typing import Any

from millrace.errors import ProgressError
from millrace.progress import RunStates, TaskIdentity, encode_event
from millrace.progress.event import progress_event
from millrace.settings import BridgeSettings
from sse_bridge.client import ClientPosition
from sse_bridge.filters import Filter
from sse_bridge.hub import Hub
from sse_bridge.records import Incoming, Skipped, parse_record
from tests.unit.sse_bridge.whatwg import EventStreamParser

FACTS: dict[str, Any] = {
    "kind": "load", "dataset": "flights", "phase": "", "total": None, "unit": "rows", "rate": None, "elapsed_s": 1.0,
    "counters": {}, "metrics": {}, "message": "", "error": None,
}  # fmt: skip


def record(
    task: str = "load", sequence: int = 1, state: str = "running", *, run: str = "r", dag: str = "d", **facts: Any
) -> bytes:
    """Return an event as it is stored in Kafka."""
    identity = TaskIdentity(dag, run, task)
    data = {**FACTS, "state": state, "done": sequence, **facts}
    return encode_event(progress_event(identity, sequence, 1_795_341_600.0 + sequence, data))


class Topic:
    """Partitions of records by offset; compaction leaves gaps."""

    def __init__(self, partitions: int = 1) -> None:
        self.logs: list[dict[int, bytes]] = [{} for _ in range(partitions)]
        self.ends = [0] * partitions
        self.lows = [0] * partitions

    def append(self, partition: int, raw: bytes) -> int:
        offset = self.ends[partition]
        self.logs[partition][offset] = raw
        self.ends[partition] += 1
        return offset

    def compact(self, partition: int) -> None:
        """Keep the last record of every source."""
        newest: dict[str, int] = {}
        for offset, raw in self.logs[partition].items():
            newest[json.loads(raw)["source"]] = offset
        kept = set(newest.values())
        self.logs[partition] = {o: raw for o, raw in self.logs[partition].items() if o in kept}


class Reader:
    """A simulated consumer that reads a topic into a hub, one record of a chosen partition at a time."""

    def __init__(
        self,
        topic: Topic,
        clock: Any = lambda: 1_795_341_700.0,
        epoch: str = "0000000a",
        hub_options: dict[str, Any] | None = None,
        **limits: Any,
    ) -> None:
        self.topic = topic
        self.clock = clock
        self.hub = Hub(BridgeSettings(**limits), clock, **(hub_options or {}))
        self.next = list(topic.lows)
        self.hub.begin(epoch, tuple(self.next))
        self.hub.mark_connected()

    def read(self, partition: int) -> bool:
        """Read one record and skip offsets without one; return False if there is none."""
        log = self.topic.logs[partition]
        offset = min((o for o in log if o >= self.next[partition]), default=None)
        if offset is None:
            return False
        self.next[partition] = offset + 1
        raw = log[offset]
        try:
            self.hub.apply([Incoming(partition, offset, raw, parse_record(raw), self.clock())])
        except ProgressError:
            self.hub.apply([Skipped(partition, offset)])
        return True

    def read_all(self) -> None:
        for partition in range(len(self.topic.logs)):
            while self.read(partition):
                pass
        self.hub.ready = True


class Client:
    """An EventSource that keeps its last event id and the received events across connections."""

    def __init__(self, event_filter: Filter | None = None) -> None:
        self.filter = event_filter or Filter()
        self.last_event_id = ""
        self.newest: dict[str, dict[str, Any]] = {}
        self.received: list[tuple[str, str]] = []
        """Each progress event as (source, sequence), in order."""
        self.resets = 0
        self.snapshots = 0
        self._client: ClientPosition | None = None
        self._hub: Hub | None = None
        self._parser = EventStreamParser()
        self._seen = 0

    def connect(self, hub: Hub) -> None:
        self._hub = hub
        self._parser = EventStreamParser(last_event_id=self.last_event_id, _id=self.last_event_id)
        self._seen = 0
        self._client, data = hub.join(self.filter, last_event_id=self.last_event_id)
        self._feed(data)

    def receive(self, cut: int | None = None) -> None:
        """Receive the available bytes; with ``cut`` the connection breaks after that many bytes."""
        if self._hub is None or self._client is None:
            return
        data = self._hub.next_bytes(self._client)
        self._feed(data if cut is None else data[:cut])
        if cut is not None:
            self._hub = self._client = None

    def _feed(self, data: bytes) -> None:
        self._parser.feed(data)
        for message in self._parser.messages[self._seen :]:
            body = json.loads(message.data)
            if message.type in ("snapshot", "reset"):
                self.snapshots += message.type == "snapshot"
                self.resets += message.type == "reset"
                self.newest = {event["source"]: event for event in body["events"]}
                assert body["cursor"] == message.last_event_id
            elif message.type == "progress":
                self.newest[body["source"]] = body
                self.received.append((body["source"], body["sequence"]))
        self._seen = len(self._parser.messages)
        self.last_event_id = self._parser.last_event_id

    @property
    def connected(self) -> bool:
        return self._client is not None

    def run_states(self) -> dict[str, tuple[str, str]]:
        """Return the state and newest sequence of each task attempt, as a page would show them."""
        run_states = RunStates()
        for event in self.newest.values():
            run_states.apply(event)
        return {task.source: (task.state, self.newest[task.source]["sequence"]) for task in run_states.tasks()}
