"""``millrace diff``: compare two versions."""

from __future__ import annotations

import click

from millrace.cli.invocation import Invocation, store_command
from millrace.cli.output import print_facts
from millrace.display import human_bytes


@click.command(short_help="Compare two versions: schema, rows, identical chunks.")
@click.argument("a", metavar="NAME[@VERSION]")
@click.argument("b", metavar="NAME[@VERSION]")
@store_command
def command(invocation: Invocation, /, a: str, b: str) -> None:
    """Compare two versions, of one dataset or of two, by their manifests alone: no chunk is read.

    JSON: a, b, identical, added_columns, removed_columns, retyped_columns (column, type in a, type in b), rows_a,
    rows_b, common_chunks, only_a_chunks, only_b_chunks, common_bytes, only_a_bytes, only_b_bytes (stored).

    \b
    Example:
      millrace diff flights@1 flights@2
      millrace diff flights@good flights --json
    """
    report = invocation.store.diff(a, b)

    def show() -> None:
        retyped = [f"{column}: {before} → {after}" for column, before, after in report.retyped_columns]
        print_facts(
            [
                ("columns added", ", ".join(report.added_columns) or "none"),
                ("columns removed", ", ".join(report.removed_columns) or "none"),
                ("types changed", ", ".join(retyped) or "none"),
                ("rows", f"{report.rows_a:,} → {report.rows_b:,}"),
                ("the same chunks", f"{report.common_chunks:,} ({human_bytes(report.common_bytes)})"),
                (f"only in {report.a}", f"{report.only_a_chunks:,} chunks ({human_bytes(report.only_a_bytes)})"),
                (f"only in {report.b}", f"{report.only_b_chunks:,} chunks ({human_bytes(report.only_b_bytes)})"),
            ],
            title=f"{report.a} and {report.b} are the same" if report.is_identical else f"{report.a} → {report.b}",
        )

    invocation.answer(report.to_json(), show)
