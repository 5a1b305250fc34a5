"""``millrace warm``: put a version into Redis."""

from __future__ import annotations

import click

from millrace.cli.invocation import Invocation, store_command
from millrace.cli.output import one_line, print_facts, say
from millrace.cli.reporting import reported
from millrace.display import human_bytes, human_seconds


@click.command(short_help="Put a version into the Redis cache.")
@click.argument("name", metavar="NAME[@VERSION]")
@store_command
def command(invocation: Invocation, /, name: str) -> None:
    """Put every chunk of a version into Redis, or none. The exit code is 1 if they do not fit or Redis is down.

    JSON: reference, complete (whether all chunks are in Redis now), reason (why not, else empty), chunks (added now),
    already_cached (cached before), stored_bytes, seconds.

    \b
    Example:
      millrace warm flights
    """
    version = invocation.store.version(name)
    with reported(
        invocation.store.settings.kafka,
        command="warm",
        dataset=version.dataset,
        total=version.rows or None,
    ) as progress:
        report = invocation.store.warm(version.reference, task=progress.task)

    def show() -> None:
        if report.complete:
            rows: list[tuple[str, object]] = [
                ("chunks added", report.chunks),
                ("already cached", report.already_cached),
                ("stored bytes", human_bytes(report.stored_bytes)),
                ("seconds", human_seconds(report.seconds)),
            ]
            print_facts(rows, title=report.reference)

    invocation.answer(report.to_json(), show)
    if not report.complete:
        say(f"millrace: {report.reference} is not in the cache: {one_line(report.reason)}")
        raise click.exceptions.Exit(1)
