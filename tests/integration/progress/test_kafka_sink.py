from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType  # type: ignore[attr-defined]

from local_stack.stack import Stack
from millrace import progress
from millrace.errors import ProgressError
from millrace.progress.kafka import KafkaSink
from millrace.settings import KafkaSettings
from tests.ports import free_port

Records = Callable[[], list[tuple[int, str, dict[str, Any]]]]
IDENTITY = progress.TaskIdentity("cli", "flights-3fa9c1", "load")


@pytest.fixture
def nobody() -> KafkaSettings:
    """Return settings with the address of a port on which no broker listens."""
    return KafkaSettings(bootstrap_servers=f"127.0.0.1:{free_port()}")


def test_the_topic_is_created_once_with_the_promised_retention(kafka: KafkaSettings) -> None:
    assert not progress.create_topic(kafka)
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    resource = ConfigResource(ResourceType.TOPIC, kafka.topic)
    config = admin.describe_configs([resource])[resource].result(timeout=10)
    assert set(config["cleanup.policy"].value.split(",")) == {"compact", "delete"}
    assert config["min.compaction.lag.ms"].value == "86400000"
    assert config["retention.ms"].value == "2592000000"
    assert len(admin.list_topics(timeout=10).topics[kafka.topic].partitions) == 3


def test_creating_a_topic_without_a_broker_raises_an_error_with_its_address(nobody: KafkaSettings) -> None:
    with pytest.raises(ProgressError, match=nobody.bootstrap_servers):
        progress.create_topic(nobody, timeout_s=2)


def test_events_arrive_with_their_source_as_key_in_the_partition_of_their_run(
    kafka: KafkaSettings, records: Records
) -> None:
    sink = progress.kafka_sink(kafka)
    for run in ("a", "b", "c", "d"):
        identity = progress.TaskIdentity("cli", run, "load")
        with progress.task(identity, kind="load", dataset="flights", total=10, sinks=[sink]) as task:
            task.advance(10)
            task.curve("loss", 1, 0.5)
    sink.close()
    found = records()
    for partition, key, event in found:
        progress.validate_event(event)
        assert key == event["source"]
        assert partition == progress.partition_of(event["data"]["dag_id"], event["data"]["run_id"], 3)
    last = {key: event["data"].get("state") for _, key, event in found}
    assert last == {
        f"/cli/cli/{run}/load/-1/1{end}": s for run in "abcd" for end, s in (("", "succeeded"), ("/curves", None))
    }
    assert isinstance(sink, KafkaSink)
    assert (sink.delivered, sink.dropped) == (len(found), 0)


def test_the_sequences_of_a_source_only_grow(kafka: KafkaSettings, records: Records) -> None:
    sink = progress.kafka_sink(kafka)
    with progress.task(IDENTITY, kind="load", sinks=[sink]) as task:
        # The first connection may take longer than the few seconds that a task waits at its end.
        assert isinstance(sink, KafkaSink)
        assert sink.flush(30)
        for number in range(200):
            task.phase(f"phase {number}")
            task.advance(1)
    sink.close()
    events = [event for _, _, event in records()]
    sequences = [event["sequence"] for event in events]
    assert sequences == sorted(set(sequences))
    assert events[-1]["data"]["state"] == "succeeded"
    assert events[-1]["data"]["done"] == 200


def test_a_forked_child_reports_through_its_own_producer(kafka: KafkaSettings, records: Records) -> None:
    program = """
import os, sys
from millrace import progress
from millrace.settings import KafkaSettings
sink = progress.kafka_sink(KafkaSettings(bootstrap_servers=sys.argv[1], topic=sys.argv[2]))
with progress.task(progress.TaskIdentity("cli", "r", "parent"), kind="load", sinks=[sink]) as task:
    task.advance(1)
    assert sink.flush(10)
    child = os.fork()
    if child == 0:
        with progress.task(progress.TaskIdentity("cli", "r", "child"), kind="load", sinks=[sink]) as other:
            other.advance(2)
        sys.exit(7)  # an ordinary end of the interpreter, with the parent's producer still in memory
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    task.advance(1)
sink.close()
"""
    arguments = [sys.executable, "-c", program, kafka.bootstrap_servers, kafka.topic]
    subprocess.run(arguments, check=True, timeout=60)
    last = {event["data"]["task_id"]: event["data"] for _, _, event in records()}
    assert (last["parent"]["state"], last["parent"]["done"]) == ("succeeded", 2)
    assert (last["child"]["state"], last["child"]["done"]) == ("succeeded", 2)


@pytest.mark.parametrize(
    ("ending", "state", "code"),
    [
        ("pass", "succeeded", 0),
        ("raise ValueError('x')", "failed", 1),
        ("sys.exit(3)", "failed", 3),
        ("os.kill(os.getpid(), 15); time.sleep(60)", "cancelled", -15),
        ("os.kill(os.getpid(), 2); time.sleep(60)", "cancelled", -2),
    ],
)
def test_every_end_of_a_task_leaves_a_last_event_in_kafka(
    kafka: KafkaSettings, records: Records, ending: str, state: str, code: int
) -> None:
    """The sink is not closed: the task itself waits until its last event is delivered."""
    program = f"""
import os, signal, sys, time
from millrace import progress
from millrace.settings import KafkaSettings
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that runs the tests behind itself ignores it
sink = progress.kafka_sink(KafkaSettings(bootstrap_servers=sys.argv[1], topic=sys.argv[2]))
with progress.task(progress.TaskIdentity("cli", "r", "load"), kind="load", sinks=[sink]) as task:
    sink.flush(10)
    {ending}
"""
    arguments = [sys.executable, "-c", program, kafka.bootstrap_servers, kafka.topic]
    done = subprocess.run(arguments, check=False, timeout=60, capture_output=True)
    assert done.returncode == code, done.stderr.decode()
    assert records()[-1][2]["data"]["state"] == state


def test_without_a_broker_short_tasks_wait_less_than_a_second_and_warn_once(
    nobody: KafkaSettings, caplog: pytest.LogCaptureFixture
) -> None:
    sink = progress.kafka_sink(nobody)
    began = time.monotonic()
    with caplog.at_level(logging.WARNING):
        for number in range(3):
            with progress.task(progress.TaskIdentity("cli", f"r{number}", "load"), kind="load", sinks=[sink]) as task:
                task.advance(1)
        sink.close()
    assert time.monotonic() - began < 1.0 + 0.5  # half a second more for a busy machine
    assert [r.getMessage() for r in caplog.records] == [
        f"progress is not being reported: Kafka at {nobody.bootstrap_servers} does not respond; the work continues"
    ]


def test_an_unresponsive_broker_delays_tasks_by_at_most_five_seconds_in_all(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with socket.socket() as unresponsive:
        unresponsive.bind(("127.0.0.1", 0))
        unresponsive.listen(16)
        settings = KafkaSettings(bootstrap_servers=f"127.0.0.1:{unresponsive.getsockname()[1]}")
        sink = progress.kafka_sink(settings)
        began = time.monotonic()
        for number in range(4):
            with progress.task(progress.TaskIdentity("cli", f"r{number}", "load"), kind="load", sinks=[sink]) as task:
                task.advance(1)
        sink.close()
        assert time.monotonic() - began < 5.0
    # Warnings only: at level INFO the number of dropped events is logged, too.
    assert [record.levelname for record in caplog.records if record.levelno >= logging.WARNING] == ["WARNING"]


def test_emitting_takes_microseconds_without_a_broker(nobody: KafkaSettings) -> None:
    sink = progress.kafka_sink(nobody)
    memory = progress.MemorySink()
    with progress.task(IDENTITY, kind="load", sinks=[memory]):
        pass
    event = memory.events[0]
    sink.emit(event)
    best = float("inf")
    for _ in range(20):
        began = time.perf_counter()
        for number in range(100):
            sink.emit({**event, "sequence": f"{number:012d}"})
        best = min(best, (time.perf_counter() - began) / 100)
    sink.close(0.1)
    assert best < 100e-6


def test_a_missing_topic_is_logged_and_not_created(kafka: KafkaSettings, caplog: pytest.LogCaptureFixture) -> None:
    missing = kafka.model_copy(update={"topic": kafka.topic + "-missing"})
    sink = progress.kafka_sink(missing)
    with progress.task(IDENTITY, kind="load", sinks=[sink]) as task:
        task.advance(1)
    sink.close()
    assert "millrace init" in caplog.text
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    assert missing.topic not in admin.list_topics(timeout=10).topics


def test_unknown_librdkafka_settings_are_logged_and_do_not_fail_the_task(
    kafka: KafkaSettings, caplog: pytest.LogCaptureFixture
) -> None:
    sink = progress.kafka_sink(kafka.model_copy(update={"config": {"no.such.property": "1"}}))
    with progress.task(IDENTITY, kind="load", sinks=[sink]) as task:
        task.advance(1)
    sink.close()
    assert "no.such.property" in caplog.text


def test_a_sink_that_was_closed_opens_again(kafka: KafkaSettings, records: Records) -> None:
    sink = progress.kafka_sink(kafka)
    for number in range(2):
        with progress.task(progress.TaskIdentity("cli", f"r{number}", "load"), kind="load", sinks=[sink]):
            pass
        sink.close()
    assert {event["data"]["run_id"] for _, _, event in records()} == {"r0", "r1"}


def test_no_thread_is_left_after_a_sink_is_closed(kafka: KafkaSettings) -> None:
    before = {thread.name for thread in threading.enumerate()}
    sink = progress.kafka_sink(kafka)
    with progress.task(IDENTITY, kind="load", sinks=[sink]):
        pass
    sink.close()
    deadline = time.monotonic() + 10
    while {thread.name for thread in threading.enumerate()} - before and time.monotonic() < deadline:
        for thread in threading.enumerate():
            if thread.name == "progress-kafka":
                thread.join(1)
    assert {thread.name for thread in threading.enumerate()} <= before


@pytest.fixture
def frozen(services: Callable[..., Stack], kafka: KafkaSettings) -> Any:
    """Return a context manager that freezes Kafka."""
    from contextlib import contextmanager

    stack = services("kafka")

    @contextmanager
    def hold() -> Any:
        stack.freeze("kafka")
        try:
            yield
        finally:
            stack.thaw("kafka")

    return hold


@pytest.mark.skipif("MILLRACE_KAFKA__BOOTSTRAP_SERVERS" in os.environ, reason="cannot freeze a Kafka it did not start")
def test_a_frozen_broker_delays_a_flush_by_at_most_five_seconds_and_later_gets_the_newest_event(
    kafka: KafkaSettings, records: Records, frozen: Any
) -> None:
    sink = progress.kafka_sink(kafka)
    assert isinstance(sink, KafkaSink)
    with progress.task(IDENTITY, kind="load", sinks=[sink]) as task:
        task.advance(1)
        assert sink.flush(10)
        with frozen():
            slowest = 0.0
            for number in range(1000):
                began = time.perf_counter()
                task.phase(f"phase {number}")
                task.advance(1)
                slowest = max(slowest, time.perf_counter() - began)
            assert slowest < 0.2
            began = time.monotonic()
            assert not sink.flush(5)
            assert time.monotonic() - began < 5.5
        assert sink.flush(30)
        assert records()[-1][2]["data"]["phase"] == "phase 999"
    sink.close()
    assert records()[-1][2]["data"]["state"] == "succeeded"
