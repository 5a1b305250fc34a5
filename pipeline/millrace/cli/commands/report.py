"""``millrace report``: the report of a load or of a training."""

from __future__ import annotations

import click

from millrace.cli.invocation import Invocation, store_command
from millrace.cli.output import print_facts, say


@click.command(short_help="Show the report of a run.")
@click.argument("run")
@store_command
def command(invocation: Invocation, /, run: str) -> None:
    """Show the report of RUN, which loaded a dataset, trained a model, or tried to.

    RUN is DAG/RUN for a run of Airflow, such as ingest_dataset/manual__2026-11-22T10:00:00+00:00. For a run of a
    command or of a Python program it is the id of the run, which its report and millrace show name.

    The store keeps the report of a run that loaded a version or was skipped, and for 90 days that of a run that failed.
    A run that was interrupted has none. Attempts of one run have one report, that of the last one.

    JSON: the load report, as docs/load-report.schema.json describes it, or the report of millrace train; in the latter,
    report is "model". state is succeeded, failed (error has class,
    message, hint and retriable) or skipped (skipped has the reason). A stored report has at most 64,000 bytes, and cut
    has the original length of each list that was shortened.

    \b
    Example:
      millrace report flights-3f9a2c
      millrace report ingest_flights/scheduled__2026-11-22T02:05:00+00:00 --json
    """
    from millrace.load import LoadReport, report_facts

    report = invocation.store.run_report(run)

    def show() -> None:
        if not isinstance(report, LoadReport):
            print_facts(report.facts(), title=report.reference)
            return
        print_facts(report_facts(report), title=report.reference)
        for warning in report.warnings:
            say(f"warning of the run: {warning.message}")

    invocation.answer(report.to_json(), show)
