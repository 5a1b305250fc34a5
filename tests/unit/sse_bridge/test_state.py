from __future__ import annotations

import json
from typing import Any

import pytest

from millrace.progress import TaskIdentity, TaskPosition, airflow_event, encode_event
from sse_bridge.filters import Filter, parse_filter
from sse_bridge.state import BridgeState, Incoming, parse_record
from tests.unit.sse_bridge.world import Reader, Topic, record


def state(**limits: Any) -> BridgeState:
    return BridgeState(**{"stalled_after_s": 25.0, "lost_after_s": 60.0, "sources_max": 100, **limits})


def hear(known: BridgeState, raw: bytes, at_s: float) -> bool:
    verdict, revived = known.apply(Incoming(0, 0, raw, parse_record(raw), at_s), at_s)
    assert verdict == "new"
    return revived


def shown(known: BridgeState) -> list[str]:
    return [shown for _, shown in known.tasks(Filter())]


def test_a_task_without_events_is_stalled_after_25_seconds_and_lost_after_60() -> None:
    known = state()
    hear(known, record("load", 1), 1000.0)
    source = "/airflow/d/r/load/-1/1"
    assert known.judge(1024.9, 0) == []
    assert shown(known) == ["running"]
    assert known.judge(1025.0, 0) == [source]
    assert shown(known) == ["stalled"]
    assert known.judge(1059.9, 0) == []
    assert known.judge(1060.0, 0) == [source]
    assert shown(known) == ["lost"]
    assert known.judge(9999.0, 0) == []
    assert hear(known, record("load", 2), 10_000.0)
    assert shown(known) == ["running"]
    assert not hear(known, record("load", 3), 10_001.0)


@pytest.mark.parametrize("last", ["succeeded", "failed", "cancelled", "skipped", "retrying"])
def test_a_task_is_not_judged_after_its_last_event(last: str) -> None:
    known = state()
    hear(known, record("load", 1), 1000.0)
    hear(known, record("load", 2, last), 1001.0)
    assert known.judge(5000.0, 0) == []
    assert shown(known) == [last]


def test_a_task_that_airflow_ended_is_not_judged() -> None:
    known = state()
    raw = record("load", 1)
    hear(known, raw, 1000.0)
    report = json.loads(raw)
    report["source"] += "/airflow"
    report["data"] |= {"state": "failed", "error": {"type": "Airflow", "message": "worker vanished"}}
    hear(known, json.dumps(report).encode(), 1010.0)
    assert known.judge(5000.0, 0) == []
    assert shown(known) == ["failed"]


def test_a_queued_task_is_not_judged() -> None:
    known = state()
    hear(known, record("load", 1, "queued"), 1000.0)
    assert known.judge(5000.0, 0) == []


def test_time_before_the_bridge_was_connected_does_not_count() -> None:
    known = state()
    hear(known, record("load", 1), 1000.0)
    assert known.judge(1100.0, hearing_since_s=1080.0) == []
    assert known.judge(1106.0, hearing_since_s=1080.0) == ["/airflow/d/r/load/-1/1"]
    assert shown(known) == ["stalled"]


def test_a_heartbeat_does_not_count_as_progress() -> None:
    known = state()
    for second, done in ((0, 5), (10, 5), (20, 5), (30, 6), (40, 6)):
        hear(known, record("load", second + 1, done=done), 1000.0 + second)
    (told,) = known.silent(Filter())
    assert told["moved"] == "1970-01-01T00:17:10.000Z"
    assert told["heard"] == "1970-01-01T00:17:20.000Z"


def test_the_hub_judges_no_task_while_it_is_disconnected_or_has_just_started() -> None:
    now = [10_000.0]
    topic = Topic()
    topic.append(0, record("load", 1))
    reader = Reader(topic, clock=lambda: now[0], epoch="0000000a")
    while reader.read(0):
        pass
    assert reader.hub.judge() == []
    assert reader.hub.caught_up()
    assert not reader.hub.caught_up()
    now[0] += 12.4
    assert reader.hub.judge() == []
    now[0] += 13.0
    reader.hub.deaf("no answer")
    assert reader.hub.judge() == []
    reader.hub.heard()
    assert reader.hub.judge() == []
    now[0] += 24.9
    reader.hub.heard()
    assert reader.hub.judge() == []
    now[0] += 0.2
    reader.hub.heard()
    assert reader.hub.judge() == ["/airflow/d/r/load/-1/1"]


def test_time_counts_only_up_to_the_last_response_of_kafka() -> None:
    now = [10_000.0]
    topic = Topic()
    topic.append(0, record("load", 1))
    reader = Reader(topic, clock=lambda: now[0], epoch="0000000a")
    reader.read_all()
    reader.hub.caught_up()
    now[0] += 20.0
    reader.hub.heard()
    now[0] += 100.0  # no poll meanwhile: the machine slept, or a frozen Kafka is not noticed yet
    assert reader.hub.judge() == []
    reader.hub.heard()
    assert reader.hub.judge() == ["/airflow/d/r/load/-1/1"]


def test_a_run_is_over_when_all_its_tasks_have_ended_or_are_lost() -> None:
    known = state()
    wanted = parse_filter({"dag_id": ["d"], "run_id": ["r"]})
    assert not known.over(wanted)
    hear(known, record("load", 1, "succeeded"), 1000.0)
    assert known.over(wanted)
    hear(known, record("warm", 1), 1001.0)
    assert not known.over(wanted)
    known.judge(1030.0, 0)
    assert not known.over(wanted)
    known.judge(1100.0, 0)
    assert known.over(wanted)
    hear(known, record("warm", 2, "retrying"), 1101.0)
    assert not known.over(wanted)
    hear(known, record("other", 1, run="elsewhere"), 1102.0)
    hear(known, record("warm", 3, "failed"), 1103.0)
    assert known.over(wanted)


def airflows(task: str, state_: str, at_s: float, map_index: int = -1, *, leaf: bool = False) -> bytes:
    identity = TaskIdentity("d", "r", task, map_index)
    return encode_event(airflow_event(identity, state_, time_s=at_s, place=TaskPosition(0, leaf)))


def test_a_run_with_an_unknown_last_task_is_settled_after_a_delay() -> None:
    known = state()
    wanted = parse_filter({"dag_id": ["d"], "run_id": ["r"]})
    hear(known, record("load", 1, "succeeded"), 1000.0)
    assert not known.settled(wanted, 1014.0, settle_s=15.0)
    assert known.settled(wanted, 1015.0, settle_s=15.0)


def test_a_run_is_settled_early_when_airflow_reported_the_end_of_every_step() -> None:
    known = state()
    wanted = parse_filter({"dag_id": ["d"], "run_id": ["r"]})
    hear(known, airflows("load", "succeeded", 1_795_341_600.0, 0), 1000.0)
    hear(known, airflows("warm", "running", 1_795_341_600.0, leaf=True), 1000.0)
    hear(known, record("warm", 1, "succeeded"), 1000.0)
    assert not known.settled(wanted, 1005.0, settle_s=15.0), "Airflow may try it again"
    hear(known, airflows("warm", "succeeded", 1_795_341_601.0, leaf=True), 1001.0)
    assert not known.settled(wanted, 1001.5, settle_s=15.0)
    assert known.settled(wanted, 1002.0, settle_s=15.0)
    assert not known.settled(Filter(), 1002.0, settle_s=15.0), "another run may have begun"
    only = parse_filter({"dag_id": ["d"], "run_id": ["r"], "task_id": ["load"]})
    assert not known.settled(only, 1002.0, settle_s=15.0), "another split may begin"
    # Further instances of a mapped task at the end of the DAG may follow.
    hear(known, airflows("last", "succeeded", 1_795_341_602.0, 0, leaf=True), 1003.0)
    assert not known.settled(wanted, 1010.0, settle_s=15.0)


def test_a_run_whose_last_step_was_never_announced_is_not_settled_between_two_steps() -> None:
    known = state()
    hear(known, airflows("plan", "succeeded", 1_795_341_600.0), 1000.0)
    assert not known.settled(parse_filter({"dag_id": ["d"], "run_id": ["r"]}), 1010.0, settle_s=15.0)


def test_airflow_events_pass_filters_on_facts_of_an_earlier_attempt() -> None:
    known = state()
    hear(known, record("load", 1, "failed"), 1000.0)
    again = TaskIdentity("d", "r", "load", attempt=2)
    hear(known, encode_event(airflow_event(again, "queued", time_s=1_795_341_700.0, begun=False)), 1001.0)
    wanted = parse_filter({"dataset": ["flights"], "kind": ["load"]})
    assert len(known.events(wanted)) == 2
    assert [shown for _, shown in known.tasks(wanted)] == ["queued"]


def test_curve_points_are_forwarded_but_not_kept_in_the_state() -> None:
    raw = json.loads(record("train", 1))
    raw["source"] += "/curves"
    raw["data"]["series"] = {"loss": [[n, 0.5] for n in range(256)]}
    text = json.dumps(raw).encode()
    known = state()
    hear(known, text, 1000.0)
    assert known.events(Filter()) == [text]
    assert known.picture.sources[raw["source"]].data["series"] == {}
