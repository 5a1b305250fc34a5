"""``millrace replay``: load the rows again that a version rejected."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from millrace.cli.invocation import Invocation, store_command
from millrace.cli.load_options import column_type_option
from millrace.cli.output import one_line, print_facts, warn
from millrace.cli.reporting import reported

if TYPE_CHECKING:
    from millrace.load import ReplayReport


@click.command(short_help="Load the rows again that a version rejected.")
@click.argument("name", metavar="NAME@VERSION")
@column_type_option
@store_command
def command(invocation: Invocation, /, name: str, column_types: tuple[tuple[str, str], ...]) -> None:
    """Append the rejected rows of a version that fit now, and set the others aside again.

    The rows are read with the options of their load. A column has the type of --column-type, else its type in the
    latest version. The latest version must have the rows of VERSION: only appends may have followed it. Rejects are
    replayed once. A second replay adds nothing, and names the version to replay instead.

    Values that a contract made null are not replayed, because their rows are loaded. Rows whose text was cut at 64 KB
    or that are not UTF-8 cannot be replayed.

    JSON: replayed, message, cut (rejects that are not complete), unstored (rejects that were only counted), load (the
    load report, or null if nothing was loaded).

    \b
    Example:
      millrace replay visits@3 --column-type age=float64
    """
    from millrace.load import loader_memory

    store = invocation.store
    with (
        loader_memory(),
        reported(store.settings.kafka, command="load", dataset=name.partition("@")[0], total=None) as progress,
    ):
        report = store.replay(name, column_types=column_types, task=progress.task)
    if report.cut:
        warn(f"{report.cut:,} rejected rows cannot be replayed: their text was cut at 64 KB, or is not UTF-8")
    if report.unstored:
        warn(f"{report.unstored:,} rejected rows cannot be replayed: they were only counted, beyond 64 MB")
    invocation.answer(report.to_json(), lambda: _show(report))


def _show(report: ReplayReport) -> None:
    from millrace.load import report_facts

    facts = [] if report.load is None else report_facts(report.load)
    print_facts([("result", one_line(report.message)), *facts], title=report.replayed)
