"""``millrace repair``: write missing replicas and merge concurrent appends."""

from __future__ import annotations

import click

from millrace.cli.invocation import Invocation, store_command
from millrace.cli.output import one_line, print_facts, print_table, say
from millrace.cli.reporting import reported


@click.command(short_help="Copy under-replicated data to both nodes.")
@click.argument("name", required=False)
@click.option("--dry-run", is_flag=True, help="List under-replicated data; write nothing.")
@store_command
def command(invocation: Invocation, /, name: str | None, dry_run: bool) -> None:
    """Write every missing replica on record (of NAME, or of all datasets), and check each copy.

    The catalogue comes first, then manifest pages, then chunks. If hinted handoff has delivered the data already, it is
    only checked. Appends whose loads could not see each other are merged. Exit code 1 if data is still
    under-replicated. Refused while a node is down.

    JSON: ok, datasets, records, cleared, pending (a load is still writing it), chunks, copies (written), merged
    (versions made), problems; with --dry-run: under_replicated, a list of dataset, attempt_id, bucket, chunks.

    \b
    Example:
      millrace repair
      millrace repair flights
    """
    if dry_run:
        columns = ("dataset", "attempt_id", "bucket", "chunks")
        records = invocation.store.under_replicated_of(name)
        rows = [(record.dataset, record.attempt_id.hex, record.bucket, record.chunks) for record in records]
        invocation.answer(
            {"under_replicated": [dict(zip(columns, row, strict=True)) for row in rows], "dry_run": True},
            lambda: print_table(columns, [(dataset, attempt[:12], *counts) for dataset, attempt, *counts in rows]),
        )
        return
    with reported(
        invocation.store.settings.kafka,
        command="repair",
        dataset=name or "",
        total=None,
    ) as progress:
        report = invocation.store.repair(name, task=progress.task)

    def show() -> None:
        print_facts(
            [
                ("datasets", report.datasets),
                ("records", report.records),
                ("cleared", report.cleared),
                ("still being written", report.pending),
                ("chunks checked", report.chunks),
                ("copies written", report.copies),
                ("merged", ", ".join(report.merged) or "nothing"),
            ],
            title=name or "everything",
        )

    invocation.answer(report.to_json(), show)
    if not report.ok:
        first = report.problems[0]["message"] if report.problems else "see --json"
        uncleared = report.records - report.cleared - report.pending
        say(f"millrace: {uncleared:,} records could not be cleared: {one_line(first)}")
        raise click.exceptions.Exit(1)
