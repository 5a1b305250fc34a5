"""``millrace verify``: read and check every chunk again."""

from __future__ import annotations

import click

from millrace.cli.invocation import Invocation, store_command
from millrace.cli.output import one_line, print_facts, print_table, say
from millrace.cli.reporting import reported
from millrace.display import human_bytes


@click.command(short_help="Re-read and check every chunk of a version.")
@click.argument("name", metavar="NAME[@VERSION]")
@click.option("--each-replica", is_flag=True, help="Read every chunk from each of its nodes alone.")
@store_command
def command(invocation: Invocation, /, name: str, each_replica: bool) -> None:
    """Read every chunk of a version again and check it against its checksums; exit code 1 if one is wrong.

    With --each-replica the version's pages and rows are compared on each node, too. Data that a node lacks or holds
    damaged is recorded, and millrace repair writes it there from the other node.

    JSON: reference, ok, chunks, copies, rows, stored_bytes, bad_copies, each_replica, recorded (attempts and buckets
    on record), problems (the first 100).

    \b
    Example:
      millrace verify flights
      millrace verify flights@2 --each-replica
    """
    version = invocation.store.version(name)
    with reported(
        invocation.store.settings.kafka,
        command="verify",
        dataset=version.dataset,
        total=version.rows or None,
    ) as progress:
        report = invocation.store.verify(version.reference, each_replica=each_replica, task=progress.task)

    def show() -> None:
        print_facts(
            [
                ("chunks", report.chunks),
                ("copies", report.copies),
                ("rows", report.rows),
                ("stored bytes", human_bytes(report.stored_bytes)),
                ("wrong or missing", report.bad_copies),
            ],
            title=report.reference,
        )
        if report.problems:
            rows = [(p["error"], p.get("node", ""), p.get("chunk", ""), p["message"]) for p in report.problems]
            print_table(["problem", "node", "chunk", "what"], rows, folding=["what"])

    invocation.answer(report.to_json(), show)
    if not report.ok:
        first = one_line(report.problems[0]["message"])
        say(f"millrace: {report.bad_copies:,} of {report.copies:,} copies checked are wrong or missing: {first}")
        raise click.exceptions.Exit(1)
