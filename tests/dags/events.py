"""The topic of progress, read by a separate consumer."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import httpx
from confluent_kafka import Consumer, TopicPartition

from millrace.progress import Event, validate_event
from millrace.settings import KafkaSettings, load_settings


class EventLog:
    """All events of the topic so far, each validated, in the order of its partition."""

    def __init__(self, settings: KafkaSettings) -> None:
        options: dict[str, Any] = {
            "bootstrap.servers": settings.bootstrap_servers,
            "group.id": "test",
            "enable.auto.commit": False,
        }
        self._consumer = Consumer(options)
        partitions = self._consumer.list_topics(settings.topic, timeout=30).topics[settings.topic].partitions
        self._consumer.assign([TopicPartition(settings.topic, number, 0) for number in partitions])
        self._events: list[Event] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._consumer.close()

    def of_run(
        self, run_id: str, until: Callable[[list[Event]], Any] = lambda events: True, timeout_s: float = 60.0
    ) -> list[Event]:
        """Return the events of a run once ``until`` is true of them; at the timeout, fail with the events so far."""
        deadline = time.monotonic() + timeout_s
        while True:
            quiet = self._read()
            events = [event for event in self._events if event["data"]["run_id"] == run_id]
            if quiet and until(events):
                return events
            if time.monotonic() > deadline:
                summary = [(each["source"], each["data"]["state"]) for each in events]
                raise AssertionError(f"not seen within {timeout_s} s; there are {summary}")

    def _read(self) -> bool:
        messages = self._consumer.consume(1000, timeout=1.0)
        for message in messages:
            assert message.error() is None, message.error()
            value = message.value()
            assert value is not None
            event = json.loads(value)
            validate_event(event)
            assert message.key() == event["source"].encode()
            self._events.append(event)
        return not messages


def run_progress(dag_id: str, run_id: str) -> dict[str, Any]:
    """Return the state of a run from the bridge's API."""
    params = {"dag_id": dag_id, "run_id": run_id}
    answer = httpx.get(f"{load_settings().bridge.url}/api/progress", params=params, timeout=30, trust_env=False)
    return dict(answer.raise_for_status().json())


def own(events: list[Event], task_id: str, map_index: int = -1) -> list[Event]:
    """Return the events that the task itself sent, in the order in which it sent them."""
    return [each for each in events if _is_of(each, task_id, map_index) and not each["source"].endswith("/airflow")]


def airflows(events: list[Event], task_id: str, map_index: int = -1) -> list[Event]:
    """Return the events that Airflow's processes sent about the task, oldest first by sequence."""
    reports = [each for each in events if _is_of(each, task_id, map_index) and each["source"].endswith("/airflow")]
    return sorted(reports, key=lambda each: (each["data"]["attempt"], each["sequence"]))


def states(events: list[Event]) -> list[tuple[int, str]]:
    """Return attempt and state of each event, without consecutive repetitions."""
    transitions: list[tuple[int, str]] = []
    for each in events:
        now = (each["data"]["attempt"], each["data"]["state"])
        if transitions[-1:] != [now]:
            transitions.append(now)
    return transitions


def has_reported(events: list[Event], task_id: str, state: str) -> bool:
    """Return whether the task itself has reported this state."""
    return any(each["data"]["state"] == state for each in own(events, task_id))


def are(events: list[Event], *expected: tuple[int, str]) -> bool:
    """Return whether these events have the wanted states in that order; only the last one of each attempt is required.

    The newest event of an attempt replaces one that is still queued in its process, so earlier ones may be missing.
    """
    transitions, left = states(events), iter(expected)
    return all(state in left for state in transitions) and dict(expected) == dict(transitions)


def _is_of(event: Event, task_id: str, map_index: int) -> bool:
    return bool(event["data"]["task_id"] == task_id and event["data"]["map_index"] == map_index)
