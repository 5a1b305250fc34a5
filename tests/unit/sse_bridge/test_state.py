from __future__ import annotations

import json
from typing import Any

import pytest

from millrace.progress import TaskIdentity, TaskPosition, airflow_event, encode_event
from sse_bridge.filters import Filter, parse_filter
from sse_bridge.records import Incoming, parse_record
from sse_bridge.state import BridgeState
from tests.unit.sse_bridge.world import Reader, Topic, record


def state(**limits: Any) -> BridgeState:
    return BridgeState(**{"stalled_after_s": 25.0, "lost_after_s": 60.0, "sources_max": 100, **limits})


def receive(bridge_state: BridgeState, raw: bytes, at_s: float) -> bool:
    result, revived = bridge_state.apply(Incoming(0, 0, raw, parse_record(raw), at_s), at_s)
    assert result == "new"
    return revived


def shown(bridge_state: BridgeState) -> list[str]:
    return [shown for _, shown in bridge_state.tasks(Filter())]


def test_a_task_without_events_is_stalled_after_25_seconds_and_lost_after_60() -> None:
    bridge_state = state()
    receive(bridge_state, record("load", 1), 1000.0)
    source = "/airflow/d/r/load/-1/1"
    assert bridge_state.update_timeouts(1024.9, 0) == []
    assert shown(bridge_state) == ["running"]
    assert bridge_state.update_timeouts(1025.0, 0) == [source]
    assert shown(bridge_state) == ["stalled"]
    assert bridge_state.update_timeouts(1059.9, 0) == []
    assert bridge_state.update_timeouts(1060.0, 0) == [source]
    assert shown(bridge_state) == ["lost"]
    assert bridge_state.update_timeouts(9999.0, 0) == []
    assert receive(bridge_state, record("load", 2), 10_000.0)
    assert shown(bridge_state) == ["running"]
    assert not receive(bridge_state, record("load", 3), 10_001.0)


@pytest.mark.parametrize("last", ["succeeded", "failed", "cancelled", "skipped", "retrying"])
def test_a_task_is_not_judged_after_its_last_event(last: str) -> None:
    bridge_state = state()
    receive(bridge_state, record("load", 1), 1000.0)
    receive(bridge_state, record("load", 2, last), 1001.0)
    assert bridge_state.update_timeouts(5000.0, 0) == []
    assert shown(bridge_state) == [last]


def test_a_task_that_airflow_ended_is_not_judged() -> None:
    bridge_state = state()
    raw = record("load", 1)
    receive(bridge_state, raw, 1000.0)
    report = json.loads(raw)
    report["source"] += "/airflow"
    report["data"] |= {"state": "failed", "error": {"type": "Airflow", "message": "worker vanished"}}
    receive(bridge_state, json.dumps(report).encode(), 1010.0)
    assert bridge_state.update_timeouts(5000.0, 0) == []
    assert shown(bridge_state) == ["failed"]


def test_a_queued_task_is_not_judged() -> None:
    bridge_state = state()
    receive(bridge_state, record("load", 1, "queued"), 1000.0)
    assert bridge_state.update_timeouts(5000.0, 0) == []


def test_time_before_the_bridge_was_connected_does_not_count() -> None:
    bridge_state = state()
    receive(bridge_state, record("load", 1), 1000.0)
    assert bridge_state.update_timeouts(1100.0, connected_since_s=1080.0) == []
    assert bridge_state.update_timeouts(1106.0, connected_since_s=1080.0) == ["/airflow/d/r/load/-1/1"]
    assert shown(bridge_state) == ["stalled"]


def test_a_heartbeat_does_not_count_as_progress() -> None:
    bridge_state = state()
    for second, done in ((0, 5), (10, 5), (20, 5), (30, 6), (40, 6)):
        receive(bridge_state, record("load", second + 1, done=done), 1000.0 + second)
    (liveness,) = bridge_state.liveness_json(Filter())
    assert liveness["progressed"] == "1970-01-01T00:17:10.000Z"
    assert liveness["received"] == "1970-01-01T00:17:20.000Z"


def test_the_hub_judges_no_task_while_it_is_disconnected_or_has_just_started() -> None:
    now = [10_000.0]
    topic = Topic()
    topic.append(0, record("load", 1))
    reader = Reader(topic, clock=lambda: now[0], epoch="0000000a")
    while reader.read(0):
        pass
    assert reader.hub.update_timeouts() == []
    assert reader.hub.mark_caught_up()
    assert not reader.hub.mark_caught_up()
    now[0] += 12.4
    assert reader.hub.update_timeouts() == []
    now[0] += 13.0
    reader.hub.mark_disconnected("no answer")
    assert reader.hub.update_timeouts() == []
    reader.hub.mark_connected()
    assert reader.hub.update_timeouts() == []
    now[0] += 24.9
    reader.hub.mark_connected()
    assert reader.hub.update_timeouts() == []
    now[0] += 0.2
    reader.hub.mark_connected()
    assert reader.hub.update_timeouts() == ["/airflow/d/r/load/-1/1"]


def test_time_counts_only_up_to_the_last_response_of_kafka() -> None:
    now = [10_000.0]
    topic = Topic()
    topic.append(0, record("load", 1))
    reader = Reader(topic, clock=lambda: now[0], epoch="0000000a")
    reader.read_all()
    reader.hub.mark_caught_up()
    now[0] += 20.0
    reader.hub.mark_connected()
    now[0] += 100.0  # no poll meanwhile: the machine slept, or a frozen Kafka is not noticed yet
    assert reader.hub.update_timeouts() == []
    reader.hub.mark_connected()
    assert reader.hub.update_timeouts() == ["/airflow/d/r/load/-1/1"]


def test_a_run_is_over_when_all_its_tasks_have_ended_or_are_lost() -> None:
    bridge_state = state()
    selection = parse_filter({"dag_id": ["d"], "run_id": ["r"]})
    assert not bridge_state.all_over(selection)
    receive(bridge_state, record("load", 1, "succeeded"), 1000.0)
    assert bridge_state.all_over(selection)
    receive(bridge_state, record("warm", 1), 1001.0)
    assert not bridge_state.all_over(selection)
    bridge_state.update_timeouts(1030.0, 0)
    assert not bridge_state.all_over(selection)
    bridge_state.update_timeouts(1100.0, 0)
    assert bridge_state.all_over(selection)
    receive(bridge_state, record("warm", 2, "retrying"), 1101.0)
    assert not bridge_state.all_over(selection)
    receive(bridge_state, record("other", 1, run="elsewhere"), 1102.0)
    receive(bridge_state, record("warm", 3, "failed"), 1103.0)
    assert bridge_state.all_over(selection)


def airflows(task: str, state_: str, at_s: float, map_index: int = -1, *, leaf: bool = False) -> bytes:
    identity = TaskIdentity("d", "r", task, map_index)
    return encode_event(airflow_event(identity, state_, time_s=at_s, position=TaskPosition(0, leaf)))


def test_a_run_with_an_unknown_last_task_is_settled_after_a_delay() -> None:
    bridge_state = state()
    selection = parse_filter({"dag_id": ["d"], "run_id": ["r"]})
    receive(bridge_state, record("load", 1, "succeeded"), 1000.0)
    assert not bridge_state.is_complete(selection, 1014.0, quiet_s=15.0)
    assert bridge_state.is_complete(selection, 1015.0, quiet_s=15.0)


def test_a_run_is_settled_early_when_airflow_reported_the_end_of_every_step() -> None:
    bridge_state = state()
    selection = parse_filter({"dag_id": ["d"], "run_id": ["r"]})
    receive(bridge_state, airflows("load", "succeeded", 1_795_341_600.0, 0), 1000.0)
    receive(bridge_state, airflows("warm", "running", 1_795_341_600.0, leaf=True), 1000.0)
    receive(bridge_state, record("warm", 1, "succeeded"), 1000.0)
    assert not bridge_state.is_complete(selection, 1005.0, quiet_s=15.0), "Airflow may try it again"
    receive(bridge_state, airflows("warm", "succeeded", 1_795_341_601.0, leaf=True), 1001.0)
    assert not bridge_state.is_complete(selection, 1001.5, quiet_s=15.0)
    assert bridge_state.is_complete(selection, 1002.0, quiet_s=15.0)
    assert not bridge_state.is_complete(Filter(), 1002.0, quiet_s=15.0), "another run may have begun"
    only = parse_filter({"dag_id": ["d"], "run_id": ["r"], "task_id": ["load"]})
    assert not bridge_state.is_complete(only, 1002.0, quiet_s=15.0), "another split may begin"
    # Further instances of a mapped task at the end of the DAG may follow.
    receive(bridge_state, airflows("last", "succeeded", 1_795_341_602.0, 0, leaf=True), 1003.0)
    assert not bridge_state.is_complete(selection, 1010.0, quiet_s=15.0)


def test_a_run_whose_last_step_was_never_announced_is_not_settled_between_two_steps() -> None:
    bridge_state = state()
    receive(bridge_state, airflows("plan", "succeeded", 1_795_341_600.0), 1000.0)
    assert not bridge_state.is_complete(parse_filter({"dag_id": ["d"], "run_id": ["r"]}), 1010.0, quiet_s=15.0)


def test_airflow_events_pass_filters_on_facts_of_an_earlier_attempt() -> None:
    bridge_state = state()
    receive(bridge_state, record("load", 1, "failed"), 1000.0)
    again = TaskIdentity("d", "r", "load", attempt=2)
    receive(bridge_state, encode_event(airflow_event(again, "queued", time_s=1_795_341_700.0, begun=False)), 1001.0)
    selection = parse_filter({"dataset": ["flights"], "kind": ["load"]})
    assert len(bridge_state.events(selection)) == 2
    assert [shown for _, shown in bridge_state.tasks(selection)] == ["queued"]


def test_curve_points_are_forwarded_but_not_kept_in_the_state() -> None:
    raw = json.loads(record("train", 1))
    raw["source"] += "/curves"
    raw["data"]["series"] = {"loss": [[n, 0.5] for n in range(256)]}
    text = json.dumps(raw).encode()
    bridge_state = state()
    receive(bridge_state, text, 1000.0)
    assert bridge_state.events(Filter()) == [text]
    assert bridge_state.run_states.sources[raw["source"]].data["series"] == {}
