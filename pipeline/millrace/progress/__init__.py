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

from millrace.progress.attempt import producer_role, unix_s
from millrace.progress.event import (
    Event,
    airflow_event,
    encode_event,
    utc_text,
)
from millrace.progress.formatting import amount, clean, duration
from millrace.progress.identity import TaskIdentity, TaskPosition, attempt_now, is_counted, partition_of
from millrace.progress.merge import ApplyResult, RunKey, RunStates, TaskState
from millrace.progress.model_metrics import metric_lines
from millrace.progress.reporter import ProgressTask, null_task, task
from millrace.progress.runs import RUN_QUIET_S, RunState, is_over, left_s_of, state_of_run, tasks_in_order
from millrace.progress.sinks import MemorySink, NullSink, Sink
from millrace.progress.topic import create_topic
from millrace.progress.training import ranks_of, training_facts, training_notes
from millrace.progress.validation import validate_event
from millrace.progress.values import fitting, short_text

if TYPE_CHECKING:
    from millrace.settings import KafkaSettings

__all__ = [
    "ApplyResult",
    "Event",
    "MemorySink",
    "NullSink",
    "ProgressTask",
    "RUN_QUIET_S",
    "RunKey",
    "RunState",
    "RunStates",
    "Sink",
    "TaskIdentity",
    "TaskPosition",
    "TaskState",
    "airflow_event",
    "amount",
    "attempt_now",
    "clean",
    "create_topic",
    "duration",
    "encode_event",
    "fitting",
    "is_counted",
    "is_over",
    "kafka_sink",
    "left_s_of",
    "metric_lines",
    "null_task",
    "partition_of",
    "producer_role",
    "ranks_of",
    "short_text",
    "state_of_run",
    "task",
    "tasks_in_order",
    "training_facts",
    "training_notes",
    "unix_s",
    "utc_text",
    "validate_event",
]


def kafka_sink(settings: KafkaSettings) -> Sink:
    """Return a sink that sends to the topic of ``settings``, or a ``NullSink`` if progress is switched off."""
    if settings.switched_off:
        return NullSink()
    from millrace.progress.kafka import KafkaSink

    return KafkaSink(settings)
