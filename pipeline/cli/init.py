"""``millrace init``: keyspace, tables and topic."""

from __future__ import annotations

import click

from pipeline.cli.invocation import Invocation, json_option, pass_invocation
from pipeline.cli.output import print_facts, print_json

__all__ = ["command"]


@click.command(short_help="Create keyspace, tables and topic, once.")
@click.option("--print", "only_print", is_flag=True, help="Print the statements instead, for whoever may run them.")
@json_option
@pass_invocation
def command(invocation: Invocation, /, only_print: bool) -> None:
    """Create the keyspace, the tables and the progress topic, with every node up.

    Doing it again changes nothing. JSON: keyspace, tables, topic, topic_created; with --print: statements, topic.

    \b
    Example:
      millrace init
      millrace init --print > millrace.cql
    """
    from pipeline.settings import load_settings
    from pipeline.store import schema

    settings = load_settings()
    kafka = settings.kafka
    if only_print:
        statements = schema.statements(settings.cassandra)
        if invocation.json:
            print_json({"statements": statements, "topic": kafka.topic, "partitions": kafka.partitions})
            return
        for statement in statements:
            print(f"{statement};")
        print(f"-- and in Kafka: topic {kafka.topic}, {kafka.partitions} partitions, cleanup.policy=compact,delete")
        return
    from pipeline.api import Store
    from pipeline.progress import create_topic

    Store.init(settings)
    created = create_topic(kafka) if kafka.bootstrap_servers else False
    facts = {
        "keyspace": settings.cassandra.keyspace,
        "tables": list(schema.TABLES),
        "topic": kafka.topic if kafka.bootstrap_servers else None,
        "topic_created": created,
    }
    rows = [("keyspace", facts["keyspace"]), ("tables", ", ".join(schema.TABLES)), ("topic", facts["topic"] or "none")]
    invocation.answer(facts, lambda: print_facts(rows))
