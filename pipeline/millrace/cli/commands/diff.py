"""``millrace diff``: compare two versions."""

from __future__ import annotations

import click

from millrace.cli.invocation import Invocation, json_option, pass_invocation, strict_option
from millrace.cli.output import print_facts
from millrace.cli.store import open_store
from millrace.display import human_bytes


@click.command(short_help="Compare two versions: schema, rows, chunks that are the same bytes.")
@click.argument("a", metavar="NAME[@VERSION]")
@click.argument("b", metavar="NAME[@VERSION]")
@strict_option
@json_option
@pass_invocation
def command(invocation: Invocation, /, a: str, b: str) -> None:
    """Compare two versions, of one dataset or of two, by their manifests alone: no chunk is read.

    JSON: a, b, same, added_columns, removed_columns, retyped (column, type in a, type in b), rows_a, rows_b,
    same_chunks, only_a_chunks, only_b_chunks, same_bytes, only_a_bytes, only_b_bytes (stored).

    \b
    Example:
      millrace diff flights@1 flights@2
      millrace diff flights@good flights --json
    """
    with open_store(invocation) as store:
        report = store.diff(a, b)

        def show() -> None:
            retyped = [f"{column}: {before} → {after}" for column, before, after in report.retyped]
            print_facts(
                [
                    ("columns added", ", ".join(report.added_columns) or "none"),
                    ("columns removed", ", ".join(report.removed_columns) or "none"),
                    ("types changed", ", ".join(retyped) or "none"),
                    ("rows", f"{report.rows_a:,} → {report.rows_b:,}"),
                    ("the same chunks", f"{report.same_chunks:,} ({human_bytes(report.same_bytes)})"),
                    (f"only in {report.a}", f"{report.only_a_chunks:,} chunks ({human_bytes(report.only_a_bytes)})"),
                    (f"only in {report.b}", f"{report.only_b_chunks:,} chunks ({human_bytes(report.only_b_bytes)})"),
                ],
                title=f"{report.a} and {report.b} are the same" if report.same else f"{report.a} → {report.b}",
            )

        invocation.answer(report.to_json(), show)
