"""``millrace undelete``: restore a deleted version."""

from __future__ import annotations

import click

from millrace.cli.invocation import Invocation, store_command
from millrace.cli.options import dry_run_option
from millrace.cli.output import print_facts, warn


@click.command(short_help="Undo the deletion of a version.")
@click.argument("name", metavar="NAME@VERSION")
@dry_run_option
@store_command
def command(invocation: Invocation, /, name: str, dry_run: bool) -> None:
    """Undo a deletion by delete or prune, until a sweep (fsck --delete, or --now) begins to remove the data.

    VERSION is a number, a full version or a time, as millrace versions NAME --deleted shows them. Refused if a sweep
    has marked the version for removal, or if its own load withdrew it. A version that was made from deleted versions is
    refused as well; the error names those to restore first. Refused while a node is down.

    JSON: dataset, version, deleted_at, latest (it is the latest version now), merges_with (other appends to the same
    data; the next append or repair merges this version with them), dry_run.

    \b
    Example:
      millrace versions flights --deleted
      millrace undelete flights@2
    """
    report = invocation.store.undelete(name, dry_run=dry_run)
    deleted = "undone before" if report.deleted_at is None else f"{report.deleted_at:%Y-%m-%d %H:%M:%S} UTC"
    facts = [
        ("would be restored" if dry_run else "restored", report.reference),
        ("deleted", deleted),
        ("latest", "yes" if report.latest else "no"),
    ]
    invocation.answer(report.to_json(), lambda: print_facts(facts, title=report.reference))
    if report.merges_with:
        others = ", ".join(report.merges_with)
        warn(f"the next append or repair merges the rows of {report.reference} with those of {others}")
