"""``millrace ingest``: load a declared source by hand."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from millrace.cli.commands.load import load, run_id_option
from millrace.cli.invocation import Invocation, json_option, pass_invocation, strict_option

if TYPE_CHECKING:
    from millrace.load import LoadOptions
    from millrace.settings import Settings
    from millrace.sources import Paths


@click.command(short_help="Load a declared source by hand.")
@click.argument("name")
@click.option(
    "--date",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M"]),
    metavar="D",
    help="The time for dates in the URI, in the timezone of the source, as in 2026-11-29. Default: now.",
)
@click.option("--force", is_flag=True, help="Load the source although it is unchanged.")
@run_id_option
@click.option("--dry-run", is_flag=True, help="Plan, encode and measure; write nothing.")
@strict_option
@json_option
@pass_invocation
def command(invocation: Invocation, /, name: str, date: datetime | None, force: bool, **given: Any) -> None:
    """Load the declared source NAME as its DAG does, and print the load report.

    The file of declared sources gives the URI and all options; millrace sources lists its entries. Local paths are
    below the folders that MILLRACE_SOURCES__ROOTS lists. A source that is unchanged since the latest version makes no
    version, and the exit code is 0.

    JSON: the load report, as that of millrace load. skipped is "unchanged" if no version was made, else empty.

    \b
    Example:
      millrace ingest flights
      millrace ingest sales --date 2026-11-29
    """
    from millrace.declarations import ENTRY_TITLES, declared_load, find_source, local_time
    from millrace.settings import load_settings

    entry = find_source(name, load_settings())

    def chosen(settings: Settings) -> tuple[Paths, LoadOptions]:
        when = None if date is None else local_time(date, entry.timezone)
        declared = declared_load(entry, settings, logical_date=when, force=force)
        return declared.source, declared.options

    load(invocation, entry.dataset, chosen, {**given, "resume": False}, warm=entry.warm, titles=ENTRY_TITLES)
