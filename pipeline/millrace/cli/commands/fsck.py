"""``millrace fsck``: find unreferenced data, and missing replicas of referenced data."""

from __future__ import annotations

import click

from millrace.cli.deleting import confirmed, dry_run_option, now_option, show_sweep, yes_option
from millrace.cli.invocation import Invocation, json_option, pass_invocation, strict_option
from millrace.cli.store import open_store


@click.command(short_help="Find data that failed loads and deleted versions left behind.")
@click.option("--delete", is_flag=True, help="Remove data past its grace time, after a confirmation.")
@dry_run_option
@yes_option
@now_option
@strict_option
@json_option
@pass_invocation
@click.pass_context
def command(
    context: click.Context, invocation: Invocation, /, delete: bool, dry_run: bool, yes: bool, now: bool
) -> None:
    """Find data that failed loads and deleted versions left behind, and missing replicas of other data.

    A replica is missing if a version references a row, page or chunk that a node lacks. Missing replicas are recorded,
    and millrace repair writes them. Exit code 1 if there are any, or other problems. Chunks are looked up by their
    keys; only reading them shows whether they are intact (millrace verify --each-replica).

    Removes nothing without --delete, and then only data that no version, reader or running load needs. Refused while a
    node is down.

    JSON: as for delete; each of missing has dataset, version, node, data, attempt_id and bucket.

    \b
    Example:
      millrace fsck
      millrace fsck --delete --yes
    """
    with open_store(invocation) as store:
        would = store.fsck(now=now)
        report = would
        removable = sum(item["removable"] for item in would.garbage)
        if delete and removable and not dry_run:
            confirmed(f"remove the data of {removable} attempts", yes=yes)
            report = store.fsck(delete=True, now=now)
        invocation.answer(report.to_json(), lambda: show_sweep(report, "everything"))
    if report.missing or report.problems:
        context.exit(1)
