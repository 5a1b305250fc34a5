"""``millrace fsck``: find unreferenced data, and missing replicas of referenced data."""

from __future__ import annotations

import click

from millrace.cli.deleting import confirmed, show_sweep
from millrace.cli.invocation import Invocation, store_command
from millrace.cli.options import deletion_options


@click.command(short_help="Find data that failed loads and deleted versions left behind.")
@click.option("--delete", is_flag=True, help="Remove data past its grace time, after a confirmation.")
@deletion_options
@store_command
def command(invocation: Invocation, /, delete: bool, dry_run: bool, yes: bool, now: bool) -> None:
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
    report = invocation.store.fsck(now=now)
    removable = sum(item["removable"] for item in report.garbage)
    if delete and removable and not dry_run:
        confirmed(f"remove the data of {removable} attempts", yes=yes)
        report = invocation.store.fsck(delete=True, now=now)
    invocation.answer(report.to_json(), lambda: show_sweep(report, "everything"))
    if report.missing or report.problems:
        raise click.exceptions.Exit(1)
