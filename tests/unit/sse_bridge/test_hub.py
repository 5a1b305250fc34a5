from __future__ import annotations

import json
import re
from itertools import chain
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.progress.event import TERMINAL_STATES
from sse_bridge.filters import Filter
from sse_bridge.records import Incoming, parse_record
from sse_bridge.ring import RingLimits
from tests.unit.sse_bridge.whatwg import EventStreamParser
from tests.unit.sse_bridge.world import Client, Reader, Topic, record


def caught_up(topic: Topic, **hub_options: Any) -> Reader:
    reader = Reader(topic, hub_options=hub_options)
    reader.read_all()
    return reader


def test_a_client_gets_a_snapshot_and_then_each_later_event_once() -> None:
    topic = Topic()
    topic.append(0, record("load", 1))
    reader = caught_up(topic)
    client = Client()
    client.connect(reader.hub)
    assert client.snapshots == 1
    assert [e["sequence"] for e in client.newest.values()] == ["000000000001"]
    for sequence in (2, 3):
        topic.append(0, record("load", sequence))
        reader.read_all()
        client.receive()
        client.receive()
    assert [sequence for _, sequence in client.received] == ["000000000002", "000000000003"]


def test_events_are_forwarded_byte_for_byte() -> None:
    topic = Topic()
    raw = json.dumps(json.loads(record(message="\u2028 ä")), ensure_ascii=False, indent=1).encode()
    reader = caught_up(topic)
    client, first = reader.hub.join(Filter())
    topic.append(0, raw)
    reader.read_all()
    parser = EventStreamParser()
    parser.feed(first + reader.hub.next_bytes(client))
    assert parser.messages[-1].data == raw.decode()
    _, first = reader.hub.join(Filter())
    assert json.loads(parsed(first).messages[0].data)["events"] == [json.loads(raw)]


def parsed(data: bytes) -> EventStreamParser:
    parser = EventStreamParser()
    parser.feed(data)
    return parser


def test_a_reconnecting_client_gets_the_missed_events_and_no_snapshot() -> None:
    topic = Topic()
    reader = caught_up(topic)
    client = Client()
    client.connect(reader.hub)
    for sequence in range(1, 8):
        topic.append(0, record("load", sequence))
        reader.read_all()
        if sequence == 3:
            client.receive(cut=10_000)
    client.connect(reader.hub)
    client.receive()
    assert [int(sequence) for _, sequence in client.received] == [1, 2, 3, 4, 5, 6, 7]
    assert (client.snapshots, client.resets) == (1, 0)


@pytest.mark.parametrize("cursor", ["nonsense", "ffffffff.0", "0000000a.99", "0000000a.0.0", "0000000a.0"])
def test_an_unusable_cursor_gets_a_reset(cursor: str) -> None:
    topic = Topic()
    for sequence in range(1, 10):
        topic.append(0, record("load", sequence))
    reader = caught_up(topic, ring_limits=RingLimits(events=3))
    client = Client()
    client.last_event_id = cursor
    client.connect(reader.hub)
    client.receive()
    assert (client.resets, client.received) == (1, [])
    assert client.last_event_id == "0000000a.9"
    assert [e["sequence"] for e in client.newest.values()] == ["000000000009"]


def test_a_cursor_before_the_retained_records_gets_a_reset() -> None:
    topic = Topic()
    topic.lows[0] = topic.ends[0] = 100
    topic.append(0, record("load", 1))
    reader = caught_up(topic)
    client = Client()
    client.last_event_id = "0000000a.99"
    client.connect(reader.hub)
    assert client.resets == 1
    client.last_event_id = "0000000a.100"
    client.connect(reader.hub)
    client.receive()
    assert (client.resets, len(client.received)) == (1, 1)


def test_a_recreated_topic_resets_every_client() -> None:
    topic = Topic()
    topic.append(0, record("load", 1))
    reader = caught_up(topic)
    client = Client()
    client.connect(reader.hub)
    reader.hub.begin("0000000b", (0,))
    reader.topic = Topic()
    reader.next = [0]
    reader.topic.append(0, record("warm", 1))
    reader.read_all()
    client.receive()
    assert client.resets == 1
    assert list(client.newest) == ["/airflow/d/r/warm/-1/1"]
    assert client.last_event_id == "0000000b.1"


def test_a_client_far_behind_skips_intermediate_states_but_gets_the_last_one() -> None:
    topic = Topic()
    reader = caught_up(topic, behind_events=10)
    client = Client()
    client.connect(reader.hub)
    for task in ("a", "b", "c"):
        for sequence in range(1, 6):
            topic.append(0, record(task, sequence, "succeeded" if sequence == 5 else "running"))
    reader.read_all()
    client.receive()
    assert client.received == [(f"/airflow/d/r/{task}/-1/1", "000000000005") for task in "abc"]
    assert client.last_event_id == reader.hub.cursor


def test_filtered_clients_get_only_their_events_and_the_cursor_of_all() -> None:
    topic = Topic()
    reader = caught_up(topic)
    wanted = Filter(dag_id=frozenset(["d"]), run_id=frozenset(["mine"]))
    client = Client(wanted)
    client.connect(reader.hub)
    topic.append(0, record("load", 1, run="mine"))
    for sequence in range(1, 5):
        topic.append(0, record("load", sequence, run="other"))
    reader.read_all()
    client.receive()
    assert client.received == [("/airflow/d/mine/load/-1/1", "000000000001")]
    assert client.last_event_id == "0000000a.1"
    again = Client(wanted)
    again.last_event_id = reader.hub.cursor
    again.connect(reader.hub)
    again.receive()
    assert (again.received, again.resets) == ([], 0)


def test_airflows_report_passes_a_filter_on_the_dataset_of_its_task() -> None:
    topic = Topic()
    report = json.loads(record("load", 1))
    report["source"] += "/airflow"
    report["data"] = {k: report["data"][k] for k in ("dag_id", "run_id", "task_id", "map_index", "attempt")}
    report["data"] |= {"state": "failed", "error": None}
    reader = caught_up(topic)
    client = Client(Filter(dataset=frozenset(["flights"])))
    client.connect(reader.hub)
    topic.append(0, record("load", 1))
    topic.append(0, json.dumps(report).encode())
    topic.append(0, record("load", 1, run="x", dataset="weather"))
    reader.read_all()
    client.receive()
    assert [source.rpartition("/")[2] for source, _ in client.received] == ["1", "airflow"]


def test_stale_late_and_poison_records_are_not_forwarded_but_move_the_cursor() -> None:
    topic = Topic()
    reader = caught_up(topic)
    client = Client()
    client.connect(reader.hub)
    for raw in (
        record("load", 2, "succeeded"),
        record("load", 1),
        record("load", 3),
        b"\xff\xfe",
        b"{}",
        b"[" * 100_000,
        record("load", 4).replace(b'"elapsed_s":1.0', b'"elapsed_s":NaN'),
        b"\xef\xbb\xbf" + record("other", 1),
        record("warm", 1),
    ):
        topic.append(0, raw)
    reader.read_all()
    client.receive()
    assert [source for source, _ in client.received] == ["/airflow/d/r/load/-1/1", "/airflow/d/r/warm/-1/1"]
    assert reader.hub.counts == {"new": 2, "stale": 1, "late": 1, "poison": 5, "deleted": 0}
    assert client.last_event_id == "0000000a.9"


def test_a_tombstone_removes_a_source_from_the_snapshot() -> None:
    from sse_bridge.records import Skipped

    topic = Topic()
    topic.append(0, record("load", 1))
    topic.append(0, record("warm", 1))
    reader = caught_up(topic)
    reader.hub.apply([Skipped(0, 2, deletes="/airflow/d/r/load/-1/1")])
    client = Client()
    client.connect(reader.hub)
    assert list(client.newest) == ["/airflow/d/r/warm/-1/1"]
    assert client.last_event_id == "0000000a.3"


def test_json_lines_have_the_same_content() -> None:
    topic = Topic()
    topic.append(0, record("load", 1))
    reader = caught_up(topic)
    client, first = reader.hub.join(Filter(), lines=True)
    snapshot = json.loads(first)
    assert (snapshot["type"], snapshot["cursor"], len(snapshot["events"])) == ("snapshot", "0000000a.1", 1)
    topic.append(0, record("load", 2))
    reader.read_all()
    (line,) = reader.hub.next_bytes(client).splitlines()
    assert json.loads(line) == json.loads(record("load", 2))


def test_bytes_are_encoded_once_for_all_clients_at_the_same_position() -> None:
    topic = Topic()
    reader = caught_up(topic)
    clients = [reader.hub.join(Filter())[0] for _ in range(3)]
    topic.append(0, record("load", 1))
    reader.read_all()
    one, other, third = (reader.hub.next_bytes(client) for client in clients)
    assert one is other
    assert other is third


def test_the_ring_keeps_a_bounded_number_of_events_and_bytes() -> None:
    topic = Topic()
    reader = caught_up(topic, ring_limits=RingLimits(events=50))
    for sequence in range(1, 500):
        topic.append(0, record("load", sequence))
        reader.read(0)
        assert reader.hub.ring.head - reader.hub.ring.tail == len(reader.hub.ring) <= 55
    topic = Topic()
    reader = caught_up(topic, ring_limits=RingLimits(events=50, bytes=20_000))
    for sequence in range(1, 100):
        topic.append(0, record("load", sequence, message="x" * 1000))
        reader.read(0)
    assert len(reader.hub.ring) <= 20


def test_the_bridge_evicts_finished_runs_above_the_limit() -> None:
    topic = Topic()
    for number in range(40):
        topic.append(0, record("load", 1, "succeeded", run=f"r{number}"))
    topic.append(0, record("load", 1, "running", run="old"))
    reader = Reader(topic, max_sources=10)
    reader.read_all()
    assert reader.hub.state.count <= 11
    client = Client()
    client.connect(reader.hub)
    assert "/airflow/d/old/load/-1/1" in client.newest


def test_every_cursor_gets_all_later_events_or_a_reset() -> None:
    topic = Topic()
    for sequence in range(1, 11):
        topic.append(0, record("load", sequence))
    reader = Reader(topic, hub_options={"ring_limits": RingLimits(events=4)})
    while reader.read(0):
        pass
    reader.hub.ready = True
    resumed = []
    for offset in range(11):
        client = Client()
        client.last_event_id = f"0000000a.{offset}"
        client.connect(reader.hub)
        client.receive()
        if not client.resets:
            resumed.append(offset)
            assert [int(sequence) for _, sequence in client.received] == list(range(offset + 1, 11))
    assert resumed == [6, 7, 8, 9, 10]


def test_a_restart_that_reads_partitions_in_another_order_loses_and_doubles_no_event() -> None:
    topic = Topic(2)
    first = Reader(topic)
    first.read_all()
    client = Client()
    client.connect(first.hub)
    for partition, run in ((0, "a"), (0, "a"), (1, "b"), (1, "b"), (1, "b")):
        topic.append(partition, record("load", topic.ends[partition] + 1, run=run))
    for partition in (1, 1, 0):
        first.read(partition)
    client.receive()
    assert client.last_event_id == "0000000a.1.2"

    second = Reader(topic)
    second.read_all()
    client.connect(second.hub)
    one_event = len(second.hub.ring.entries_from(second.hub.ring.tail)[1].sse)
    client.receive(cut=one_event + 20)
    assert client.last_event_id == "0000000a.2.2"

    third = Reader(topic)
    for partition in (1, 1, 1, 0, 0):
        third.read(partition)
    third.read_all()
    client.connect(third.hub)
    client.receive()
    assert client.resets == 0
    assert [(source.split("/")[3], int(sequence)) for source, sequence in client.received] == [
        *(("b", 1), ("b", 2), ("a", 1)),
        *(("a", 2), ("b", 3)),
    ]


def test_poison_before_an_event_does_not_double_the_event() -> None:
    topic = Topic(2)
    topic.append(0, b"poison")
    topic.append(1, record("load", 1))
    reader = caught_up(topic)
    client = Client()
    client.last_event_id = "0000000a.0.1"
    client.connect(reader.hub)
    client.receive()
    assert (client.received, client.resets) == ([], 0)


# -- random disconnections, restarts, interleavings and compactions

TASKS = 4
PARTITIONS = 2
SAY = st.tuples(st.just("say"), st.integers(0, TASKS - 1), st.sampled_from([False] * 6 + [True]))
READ = st.tuples(st.just("read"), st.integers(0, PARTITIONS - 1))
RECEIVE = st.tuples(st.just("receive"), st.integers(0, 1))
CUT = st.tuples(st.just("cut"), st.integers(0, 1), st.integers(0, 1500))
CONNECT = st.tuples(st.just("connect"), st.integers(0, 1))
RESTART = st.tuples(st.just("restart"), st.lists(st.integers(0, PARTITIONS - 1), max_size=10))
COMPACT = st.tuples(st.just("compact"), st.integers(0, PARTITIONS - 1))
# Mostly events that are sent, read and received, and sometimes a change of a connection or the topic.
USUAL = st.lists(st.one_of(SAY, READ, RECEIVE), min_size=1, max_size=12)
EVENT = st.one_of(CUT, RESTART, COMPACT, CONNECT).map(lambda action: [action])
STORIES = st.lists(st.one_of(USUAL, USUAL, EVENT), min_size=4, max_size=14).map(lambda parts: list(chain(*parts)))


class World:
    def __init__(self, **hub_options: Any) -> None:
        self.hub_options = hub_options
        self.topic = Topic(PARTITIONS)
        self.reader = Reader(self.topic, hub_options=self.hub_options)
        self.reader.read_all()
        self.clients = [Client(), Client(Filter(task_id=frozenset(["t0", "t1"])))]
        self.newest: dict[int, tuple[int, str]] = {}

    def do(self, action: tuple[Any, ...]) -> None:
        getattr(self, action[0])(*action[1:])

    def say(self, task: int, last: bool) -> None:
        sequence, state = self.newest.get(task, (0, "running"))
        if state in TERMINAL_STATES:
            return
        self.newest[task] = (sequence + 1, "succeeded" if last else "running")
        raw = record(f"t{task}", sequence + 1, self.newest[task][1], run=f"r{task}")
        self.topic.append(task % PARTITIONS, raw)

    def read(self, partition: int) -> None:
        self.reader.read(partition)

    def receive(self, which: int) -> None:
        self.clients[which].receive()

    def cut(self, which: int, at: int) -> None:
        self.clients[which].receive(cut=at)

    def connect(self, which: int) -> None:
        if not self.clients[which].connected:
            self.clients[which].connect(self.reader.hub)

    def restart(self, order: list[int]) -> None:
        """Restart the bridge, which reads the partitions in another order; open connections break."""
        for client in self.clients:
            client.receive(cut=0)
        self.reader = Reader(self.topic, hub_options=self.hub_options)
        for partition in order:
            self.reader.read(partition)
        self.reader.read_all()

    def compact(self, partition: int) -> None:
        self.topic.compact(partition)


@given(STORIES, st.sampled_from([3, 8, 1000]), st.sampled_from([2, 5, 1000]))
def test_a_client_ends_with_the_state_of_the_producer_after_any_sequence(
    actions: list[tuple[Any, ...]], ring: int, behind: int
) -> None:
    world = World(ring_limits=RingLimits(events=ring), behind_events=behind)
    for action in actions:
        world.do(action)
    world.reader.read_all()
    for client in world.clients:
        if not client.connected:
            client.connect(world.reader.hub)
        client.receive()
    everything = {f"/airflow/d/r{t}/t{t}/-1/1": (state, f"{n:012d}") for t, (n, state) in world.newest.items()}
    assert world.clients[0].run_states() == everything
    assert world.clients[1].run_states() == {s: v for s, v in everything.items() if "/t0/" in s or "/t1/" in s}
    for client in world.clients:
        if not client.resets:
            # No event comes twice, and each source comes in its order.
            assert len(set(client.received)) == len(client.received)
        for source in {source for source, _ in client.received}:
            sequences = [n for s, n in client.received if s == source]
            assert sequences == sorted(sequences)


@given(STORIES)
def test_with_a_large_ring_no_event_is_lost_or_doubled(actions: list[tuple[Any, ...]]) -> None:
    """Without compaction, and with a ring that holds all events, a client sees each event exactly once."""
    world = World()
    world.clients[0].connect(world.reader.hub)
    for action in actions:
        if action[0] != "compact":
            world.do(action)
    world.reader.read_all()
    client = world.clients[0]
    if not client.connected:
        client.connect(world.reader.hub)
    client.receive()
    expected = {
        (f"/airflow/d/r{t}/t{t}/-1/1", f"{n:012d}") for t, (last, _) in world.newest.items() for n in range(1, last + 1)
    }
    assert client.resets == 0
    assert sorted(client.received) == sorted(expected)


@pytest.mark.parametrize("lines", [False, True])
def test_every_snapshot_and_liveness_event_has_its_send_time(lines: bool) -> None:
    now = [1_795_341_700.0]
    topic = Topic()
    topic.append(0, record())
    reader = Reader(topic, clock=lambda: now[0])
    reader.read_all()
    hub = reader.hub

    def times() -> set[str]:
        said = [
            hub.join(Filter(), lines=lines)[1],
            hub.join(Filter(), lines=lines, last_event_id="never.1")[1],
            hub.liveness(Filter(), lines=lines),
            hub.snapshot_json(Filter()),
        ]
        return {re.findall(rb'"time":"([^"]*)"', each)[0].decode() for each in said}

    assert times() == {"2026-11-22T10:01:40.000Z"}
    now[0] += 180
    assert times() == {"2026-11-22T10:04:40.000Z"}


def test_clients_that_connect_at_once_share_the_bytes_of_a_snapshot() -> None:
    topic = Topic()
    topic.append(0, record())
    reader = Reader(topic)
    reader.read_all()
    assert reader.hub.snapshot(Filter()) is reader.hub.snapshot(Filter())


def test_an_event_that_raises_does_not_block_others_of_its_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader = Reader(Topic())
    reader.hub.ready = True
    apply = reader.hub.state.apply

    def raising(incoming: Incoming, received_s: float) -> Any:
        if incoming.event["data"]["task_id"] == "odd":
            raise ValueError("odd")
        return apply(incoming, received_s)

    monkeypatch.setattr(reader.hub.state, "apply", raising)
    raws = [record("a"), record("odd"), record("b")]
    entries, _ = reader.hub.apply([Incoming(0, n, raw, parse_record(raw), 1.0) for n, raw in enumerate(raws)])
    assert [entry.labels.task_id for entry in entries] == ["a", "b"]
    assert reader.hub.counts["poison"] == 1
    assert reader.hub.position == (3,)
