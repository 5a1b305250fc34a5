"""``millrace warm``: put a version into Redis."""

from __future__ import annotations

import click

from millrace.cli.invocation import Invocation, json_option, pass_invocation, strict_option
from millrace.cli.output import one_line, print_facts, say
from millrace.cli.reporting import reported
from millrace.cli.store import open_store
from millrace.display import human_bytes, human_seconds
from millrace.names import new_run_id


@click.command(short_help="Put a version into the Redis cache.")
@click.argument("name", metavar="NAME[@VERSION]")
@strict_option
@json_option
@pass_invocation
@click.pass_context
def command(context: click.Context, invocation: Invocation, /, name: str) -> None:
    """Put every chunk of a version into Redis, or none of it: exit code 1 when it does not fit or Redis is down.

    JSON: reference, admitted, whole, reason, chunks (put in now), already (there before), stored_bytes, seconds.

    \b
    Example:
      millrace warm flights
    """
    with open_store(invocation) as store:
        version = store.version(name)
        with reported(
            store.settings.kafka,
            command="warm",
            kind="warm",
            dataset=version.dataset,
            run=new_run_id(version.dataset),
            total=version.rows or None,
        ) as progress:
            report = store.warm(version.reference, task=progress.task)

        def show() -> None:
            if report.complete:
                rows: list[tuple[str, object]] = [
                    ("chunks put in", report.chunks),
                    ("there already", report.already),
                    ("stored bytes", human_bytes(report.stored_bytes)),
                    ("seconds", human_seconds(report.seconds)),
                ]
                print_facts(rows, title=report.reference)

        invocation.answer(report.to_json(), show)
    if not report.complete:
        say(f"millrace: {report.reference} is not in the cache: {one_line(report.reason)}")
        context.exit(1)
