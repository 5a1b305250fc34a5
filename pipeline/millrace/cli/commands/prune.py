"""``millrace prune``: delete all but the newest versions."""

from __future__ import annotations

import click

from millrace.cli.deleting import confirmed, dry_run_option, now_option, show_sweep, yes_option
from millrace.cli.invocation import Invocation, json_option, pass_invocation, strict_option
from millrace.cli.store import open_store


@click.command(short_help="Delete all but the newest versions of a dataset.")
@click.argument("name")
@click.option("--keep", type=click.IntRange(1), required=True, metavar="N", help="How many of the newest stay.")
@dry_run_option
@yes_option
@now_option
@strict_option
@json_option
@pass_invocation
def command(invocation: Invocation, /, name: str, keep: int, dry_run: bool, yes: bool, now: bool) -> None:
    """Delete all but the newest N versions of NAME, after asking.

    All data of the remaining versions stays, also data that older versions added. Older versions with a tag, or that
    are being read, stay as well. Millrace prunes only on request. Refused while a node is down.

    JSON: as for delete.

    \b
    Example:
      millrace prune flights --keep 3 --dry-run
      millrace prune flights --keep 3 --yes
    """
    with open_store(invocation) as store:
        would = store.prune(name, keep, dry_run=True)
        report = would
        if not dry_run and would.marked:
            confirmed(f"delete {', '.join(would.marked)}", yes=yes)
        if not dry_run:
            report = store.prune(name, keep, now=now)
        invocation.answer(report.to_json(), lambda: show_sweep(report, name, now=now))
