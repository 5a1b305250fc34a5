"""Report the progress of any work without slowing, stopping or failing it.

::

    from millrace import progress

    identity = progress.TaskIdentity(dag_id="cli", run_id="flights-3fa9c1", task_id="load")
    with progress.task(identity, kind="load", dataset="flights", total=336_776, sinks=[sink]) as task:
        for batch in batches:
            ...
            task.advance(batch.num_rows)

Importing this package opens no connection and imports no Kafka client. The sink of ``kafka_sink`` does both when the
first event is sent, in the process that sends it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from millrace.progress.event import (
    ATTEMPT_OVER,
    EVENT_TYPE,
    KINDS,
    STATES,
    TERMINAL_STATES,
    Event,
    TaskIdentity,
    TaskPosition,
    airflow_event,
    attempt_now,
    encode_event,
    is_counted,
    partition_of,
    utc_text,
    validate_event,
)
from millrace.progress.interface import NullTask, Task, null_task
from millrace.progress.merge import RunKey, RunStates, TaskState, Verdict, producer_role
from millrace.progress.reporter import ProgressTask, task
from millrace.progress.runs import SETTLED_S, RunState, in_order, is_over, left_s_of, state_of_run
from millrace.progress.sinks import MemorySink, NullSink, Sink
from millrace.progress.words import amount, clean, duration

if TYPE_CHECKING:
    from millrace.settings import KafkaSettings

__all__ = [
    "ATTEMPT_OVER",
    "EVENT_TYPE",
    "Event",
    "KINDS",
    "MemorySink",
    "NullSink",
    "NullTask",
    "ProgressTask",
    "RunKey",
    "RunState",
    "RunStates",
    "SETTLED_S",
    "STATES",
    "Sink",
    "TERMINAL_STATES",
    "Task",
    "TaskIdentity",
    "TaskPosition",
    "TaskState",
    "Verdict",
    "airflow_event",
    "amount",
    "attempt_now",
    "clean",
    "create_topic",
    "duration",
    "encode_event",
    "in_order",
    "is_counted",
    "is_over",
    "kafka_sink",
    "left_s_of",
    "null_task",
    "partition_of",
    "producer_role",
    "state_of_run",
    "task",
    "utc_text",
    "validate_event",
]


def kafka_sink(settings: KafkaSettings) -> Sink:
    """Return a sink that sends to the topic of ``settings``, or a ``NullSink`` if progress is switched off."""
    if settings.switched_off:
        return NullSink()
    from millrace.progress.kafka import KafkaSink

    return KafkaSink(settings)


def create_topic(settings: KafkaSettings, *, timeout_s: float = 30.0) -> bool:
    """Ensure that the topic exists; return True if this call created it. An existing topic is not changed.

    Raises ``ProgressError`` if Kafka does not respond or refuses.
    """
    from millrace.progress.kafka import create_topic as create

    return create(settings, timeout_s=timeout_s)
