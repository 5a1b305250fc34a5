"""The sender accepts events without waiting, drops excess events, and works after a fork."""

from __future__ import annotations

import json
import os
import threading
import time

import pytest

from millrace.airflow import sender as module
from millrace.airflow.sender import WAITING_MAX, ReportSender, process_sink
from millrace.progress import Event, MemorySink, TaskIdentity, airflow_event
from millrace.settings import KafkaSettings


def event(number: int = 1) -> Event:
    return airflow_event(TaskIdentity("ingest_x", "r", "load", number), "running", time_s=time.time())


@pytest.fixture
def sink(monkeypatch: pytest.MonkeyPatch) -> MemorySink:
    kept = MemorySink()
    monkeypatch.setattr(module, "_sinks", [])
    monkeypatch.setattr(module, "kafka_sink", lambda settings: kept)
    return kept


def test_events_are_sent_in_order(sink: MemorySink) -> None:
    sender = ReportSender()
    for number in range(50):
        sender.put(event(number))
    assert sender.flush()
    assert [each["data"]["map_index"] for each in sink.events] == list(range(50))


def test_the_airflow_connection_gives_the_kafka_servers(monkeypatch: pytest.MonkeyPatch, sink: MemorySink) -> None:
    asked: list[KafkaSettings] = []

    def remembering(settings: KafkaSettings) -> MemorySink:
        asked.append(settings)
        return sink

    monkeypatch.setattr(module, "kafka_sink", remembering)
    monkeypatch.setenv(
        "AIRFLOW_CONN_KAFKA_DEFAULT", json.dumps({"conn_type": "kafka", "extra": {"bootstrap.servers": "b:7"}})
    )
    sender = ReportSender()
    sender.put(event())
    assert sender.flush()
    assert [settings.bootstrap_servers for settings in asked] == ["b:7"]


def test_put_never_blocks_and_excess_events_are_dropped_and_counted(
    monkeypatch: pytest.MonkeyPatch, sink: MemorySink
) -> None:
    let_go = threading.Event()
    entered = threading.Event()

    def slow(settings: KafkaSettings) -> MemorySink:
        entered.set()
        assert let_go.wait(30)
        return sink

    monkeypatch.setattr(module, "kafka_sink", slow)
    sender = ReportSender()
    sender.put(event())
    assert entered.wait(30)
    for number in range(WAITING_MAX + 7):
        sender.put(event(number))
    assert sender.dropped == 7
    assert not sender.flush(0.01)
    let_go.set()
    assert sender.flush(30)
    assert len(sink.events) == WAITING_MAX + 1


def test_an_invalid_setting_drops_the_event_and_later_events_are_sent(
    monkeypatch: pytest.MonkeyPatch, sink: MemorySink
) -> None:
    sender = ReportSender()
    monkeypatch.setenv("MILLRACE_KAFKA__TOPIC", "not a topic")
    sender.put(event(1))
    assert sender.flush()
    monkeypatch.delenv("MILLRACE_KAFKA__TOPIC")
    sender.put(event(2))
    assert sender.flush()
    assert [each["data"]["map_index"] for each in sink.events] == [2]


def test_an_idle_sender_ends_its_thread_and_starts_one_when_needed(
    monkeypatch: pytest.MonkeyPatch, sink: MemorySink
) -> None:
    sender = ReportSender(idle_s=0.01)
    sender.put(event(1))
    thread = sender._thread
    assert thread is not None
    thread.join(30)
    assert not thread.is_alive()
    sender.put(event(2))
    assert sender.flush()
    assert len(sink.events) == 2


def test_a_forked_child_sends_its_own_events_and_none_of_its_parent(
    monkeypatch: pytest.MonkeyPatch, sink: MemorySink
) -> None:
    sender = ReportSender()
    sender.put(event(1))
    assert sender.flush()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:  # os._exit, so that the child runs no more of the test run
        try:
            sink.events.clear()
            sender.put(event(2))
            sender.flush(10)
            os.write(write, json.dumps([each["data"]["map_index"] for each in sink.events]).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        assert json.load(pipe) == [2]
    os.waitpid(child, 0)
    assert [each["data"]["map_index"] for each in sink.events] == [1]


def test_a_process_has_one_sink_for_equal_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_sinks", [])
    made: list[MemorySink] = []

    def making(settings: KafkaSettings) -> MemorySink:
        made.append(MemorySink())
        return made[-1]

    monkeypatch.setattr(module, "kafka_sink", making)
    same = [process_sink(KafkaSettings(bootstrap_servers="a:1")) for _ in range(3)]
    other = process_sink(KafkaSettings(bootstrap_servers="b:1"))
    assert same[0] is same[1] is same[2]
    assert other is not same[0]
    assert len(made) == 2
