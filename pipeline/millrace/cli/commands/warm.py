"""``millrace warm``: put a version into Redis."""

from __future__ import annotations

import click

from millrace.cli.invocation import Invocation, store_command
from millrace.cli.options import columns_option
from millrace.cli.output import one_line, print_facts, say
from millrace.cli.reporting import reported
from millrace.display import human_bytes, human_seconds


@click.command(short_help="Put a version into the Redis cache.")
@click.argument("name", metavar="NAME[@VERSION]")
@click.option("--split", metavar="SPLIT", help="Only the chunks of this split.")
@columns_option("Only the tiles with these columns, in the raw form.")
@click.option(
    "--form",
    type=click.Choice(["stored", "raw"]),
    help="As stored in Cassandra, or uncompressed. Default: raw if that fits beside everything else in Redis and needs "
    "at most 4 times the memory, else stored. A version that is cached already keeps its form.",
)
@store_command
def command(
    invocation: Invocation, /, name: str, split: str | None, columns: tuple[str, ...] | None, form: str | None
) -> None:
    """Put every chunk of a version into Redis.

    If they do not fit, versions that no job has pinned are removed from Redis, the least used ones for their size
    first. If that is not enough, the first chunks that fit are cached and stay. The exit code is 1 if no chunk fits or
    Redis is down.

    JSON: reference, complete (whether all chunks are in Redis now), reason (why not, else empty), chunks (added now),
    already_cached (cached before), stored_bytes (of the version), seconds, form (stored or raw), split, columns, share
    (of the chunks that are in Redis now, from 0 to 1).

    \b
    Example:
      millrace warm flights
      millrace warm flights --columns carrier,dep_delay --form raw
    """
    version = invocation.store.version(name)
    with reported(
        invocation.store.settings.kafka,
        command="warm",
        dataset=version.dataset,
        total=version.rows or None,
    ) as progress:
        report = invocation.store.warm(version.reference, split=split, columns=columns, form=form, task=progress.task)

    def show() -> None:
        if report.share:
            rows: list[tuple[str, object]] = [
                ("form", report.form),
                ("share", f"{report.share:.0%}"),
                ("chunks added", report.chunks),
                ("already cached", report.already_cached),
                ("stored bytes", human_bytes(report.stored_bytes)),
                ("seconds", human_seconds(report.seconds)),
            ]
            print_facts(rows, title=report.reference)

    invocation.answer(report.to_json(), show)
    if not report.complete:
        part = "is only partly" if report.share else "is not"
        say(f"millrace: {report.reference} {part} in the cache: {one_line(report.reason)}")
    if not report.complete and not report.share:
        raise click.exceptions.Exit(1)
