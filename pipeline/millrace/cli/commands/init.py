"""``millrace init``: create keyspace, tables and topic."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import click

from millrace.cli.invocation import Invocation, json_option, pass_invocation
from millrace.cli.options import Seconds
from millrace.cli.output import print_facts, print_json
from millrace.errors import ProgressError, StoreError

if TYPE_CHECKING:
    from millrace.settings import KafkaSettings, Settings


KAFKA_TIMEOUT_S: Final = 10.0
"""Timeout of Kafka, after which only the tables are created."""
PAUSE_S: Final = 2.0
WAIT_MAX_S: Final = 86_400


@click.command(short_help="Create or upgrade keyspace, tables and topic.")
@click.option("--print", "only_print", is_flag=True, help="Print the statements instead of running them.")
@click.option(
    "--wait-s",
    type=Seconds(min=0, max=WAIT_MAX_S),
    default=0,
    show_default=True,
    help="Seconds to wait until every node and Kafka are up.",
)
@json_option
@pass_invocation
def command(invocation: Invocation, /, only_print: bool, wait_s: float) -> None:
    """Create the keyspace, the tables and the progress topic, with every node up.

    A repetition changes nothing. A keyspace of schema 3 is upgraded in place, and its data reads the same afterwards.
    An upgrade that was interrupted is completed by the next call. A keyspace with another schema number is refused. The
    error line names the reset: drop the keyspace and run millrace init. Without Kafka the tables are created, and one
    line reports that progress is off.

    JSON: keyspace, tables, upgraded_from (a schema number or null), topic (null without Kafka), topic_created; with
    --print: statements, topic.

    \b
    Example:
      millrace init
      millrace init --wait-s 300
      millrace init --print > millrace.cql
    """
    from millrace.settings import load_settings
    from millrace.store import TABLES, schema_statements

    settings = load_settings()
    kafka = settings.kafka
    if only_print:
        statements = schema_statements(settings.cassandra)
        if invocation.json:
            print_json({"statements": statements, "topic": kafka.topic, "partitions": kafka.partitions})
            return
        for statement in statements:
            print(f"{statement};")
        print(f"-- and in Kafka: topic {kafka.topic}, {kafka.partitions} partitions, cleanup.policy=compact,delete")
        return
    deadline = time.monotonic() + wait_s
    upgraded_from = _make_tables(settings, deadline)
    created = _make_topic(invocation, kafka, deadline)
    facts = {
        "keyspace": settings.cassandra.keyspace,
        "tables": list(TABLES),
        "upgraded_from": upgraded_from,
        "topic": None if created is None else kafka.topic,
        "topic_created": bool(created),
    }
    topic = facts["topic"] or "switched off"
    rows = [("keyspace", facts["keyspace"]), ("tables", ", ".join(TABLES)), ("topic", topic)]
    if upgraded_from is not None:
        rows.insert(1, ("upgraded", f"from schema {upgraded_from}"))
    invocation.answer(facts, lambda: print_facts(rows))


def _make_tables(settings: Settings, deadline: float) -> int | None:
    """Create or upgrade the tables; return the schema number that was upgraded, else None.

    Retries until every node is up or ``deadline`` is over, and then raises the last error.
    """
    from millrace.api import Store

    while True:
        try:
            return Store.init(settings)
        except StoreError as error:
            left_s = deadline - time.monotonic()
            if not error.retriable or left_s <= 0:
                raise
        time.sleep(min(PAUSE_S, left_s))


def _make_topic(invocation: Invocation, kafka: KafkaSettings, deadline: float) -> bool | None:
    """Return whether the topic was created now (True) or before (False); warn and return None without Kafka."""
    from millrace.progress import create_topic

    if kafka.switched_off:
        invocation.warn_once(f"progress is off: {kafka.switched_off}")
        return None
    try:
        return create_topic(kafka, timeout_s=max(KAFKA_TIMEOUT_S, deadline - time.monotonic()))
    except ProgressError as error:
        if not error.context.get("unresponsive"):
            raise
        invocation.warn_once(f"progress is off: {error.message}; run millrace init again when Kafka responds")
        return None
