"""``millrace prune``: delete all but the newest versions."""

from __future__ import annotations

import click

from millrace.cli.deleting import confirmed, show_sweep
from millrace.cli.invocation import Invocation, store_command
from millrace.cli.options import deletion_options


@click.command(short_help="Delete all but the newest versions of a dataset.")
@click.argument("name")
@click.option("--keep", type=click.IntRange(1), required=True, metavar="N", help="How many of the newest stay.")
@deletion_options
@store_command
def command(invocation: Invocation, /, name: str, keep: int, dry_run: bool, yes: bool, now: bool) -> None:
    """Delete all but the newest N versions of NAME, after asking.

    All data of the remaining versions stays, also data that older versions added. Older versions with a tag, that are
    being read, or from which a visible version was made, stay as well. Millrace prunes only on request. Refused while a
    node is down.

    JSON: as for delete.

    \b
    Example:
      millrace prune flights --keep 3 --dry-run
      millrace prune flights --keep 3 --yes
    """
    report = invocation.store.prune(name, keep, dry_run=True)
    if not dry_run:
        if report.marked:
            confirmed(f"delete {', '.join(report.marked)}", yes=yes)
        report = invocation.store.prune(name, keep, now=now)
    invocation.answer(report.to_json(), lambda: show_sweep(report, name, now=now))
