"""Create the Kafka topic of progress events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from millrace.errors import ProgressError

if TYPE_CHECKING:
    from millrace.settings import KafkaSettings

_DAY_MS: Final = 86_400_000


def create_topic(settings: KafkaSettings, *, timeout_s: float = 30.0) -> bool:
    """Ensure that the topic exists; return True if this call created it. An existing topic is not changed.

    The last event of every source is kept for 30 days, and every event for at least one day (``compact,delete``). The
    broker sets the record times, so events of a task with a wrong clock neither expire early nor stay for ever. Raises
    ``ProgressError`` if Kafka refuses, or does not respond within ``timeout_s`` (``unresponsive`` in its context).
    """
    from confluent_kafka import KafkaError, KafkaException
    from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # exported only at run time

    from millrace.settings import run_hint

    broker = f"Kafka at {settings.bootstrap_servers}"
    try:
        admin = AdminClient({"bootstrap.servers": settings.bootstrap_servers, "log_level": 0, **settings.config})
        if settings.topic in admin.list_topics(timeout=timeout_s).topics:
            return False
        topic = NewTopic(
            settings.topic,
            num_partitions=settings.partitions,
            replication_factor=-1,  # the default of the brokers
            config={
                "cleanup.policy": "compact,delete",
                "min.compaction.lag.ms": str(_DAY_MS),
                "retention.ms": str(30 * _DAY_MS),
                "message.timestamp.type": "LogAppendTime",
            },
        )
        admin.create_topics([topic], request_timeout=timeout_s)[settings.topic].result(timeout=timeout_s)
    except KafkaException as error:
        cause = error.args[0]
        if cause.code() == KafkaError.TOPIC_ALREADY_EXISTS:
            return False
        raise ProgressError(
            f"topic {settings.topic} cannot be created: {broker} reports {cause.str()}",
            hint=f"start Kafka{run_hint('up kafka')}",
            topic=settings.topic,
            unresponsive=cause.code() in (KafkaError._TRANSPORT, KafkaError._TIMED_OUT),
        ) from error
    except TimeoutError as error:
        raise ProgressError(
            f"topic {settings.topic} was not created: {broker} did not respond", unresponsive=True
        ) from error
    return True
