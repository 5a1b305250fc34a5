"""Confirmation and report of the commands that delete."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from millrace.cli.output import one_line, print_facts, print_table, say
from millrace.errors import UsageError

if TYPE_CHECKING:
    from millrace.store import SweepReport


def confirmed(question: str, *, yes: bool) -> None:
    """Return if ``yes`` is set or the user agrees.

    Raises ``UsageError`` without a terminal to ask on, and ``click.Abort`` if the user declines.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(
            f"{question}: a confirmation needs a terminal", hint="give --yes, or --dry-run to see the effect"
        )
    click.confirm(one_line(question), abort=True, err=True)


def show_marked(report: SweepReport) -> None:
    """Print on standard error the versions that a dry run would delete, each with the tags that it would lose."""
    for reference in report.marked:
        say(_with_tags(report, reference))


def _with_tags(report: SweepReport, reference: str) -> str:
    tags = report.tags.get(reference)
    return f"{reference} (tag {', '.join(tags)})" if tags else reference


def show_sweep(report: SweepReport, title: str, *, now: bool = False) -> None:
    """Print the report: marked versions, removed data, and data in its grace time.

    With ``now`` the data of the marked versions has no grace time.
    """
    would = "would be " if report.dry_run else ""
    print_facts(
        [
            (f"versions {would}deleted", ", ".join(_with_tags(report, key) for key in report.marked) or "none"),
            *_removal_facts(report, now=now),
            ("attempts with data", f"{len(report.garbage)} attempts"),
            ("still in their grace time", report.waiting),
            ("removed", f"{report.removed_attempts} attempts, {report.removed_partitions} buckets"),
            ("missing on a node", len(report.missing)),
        ],
        title=title,
    )
    if report.garbage:
        print_table(
            ["dataset", "attempt_id", "buckets", "run", "reason", "may go"],
            [
                (item["dataset"], item["attempt_id"][:12], item["buckets"], item["run"], item["reason"],
                 "now" if item["removable"] else "later")
                for item in report.garbage
            ],
            right=["buckets"],
            folding=["reason"],
            spare=["buckets", "run"],
        )  # fmt: skip
    for item in report.missing[:20]:
        say(f"millrace: {item['node']} lacks {item['data']}, which {item['dataset']}@{item['version']} names")
    for line in report.problems:
        say(f"millrace: {one_line(line)}")
    if report.still_cached:
        say(f"millrace: deleted versions are still in Redis until the next warming: {one_line(report.still_cached)}")


def _removal_facts(report: SweepReport, *, now: bool) -> list[tuple[str, str]]:
    """Return lines on when the data of the marked versions is removed and how to undo their deletion."""
    from millrace.store import GRACE

    if not report.marked or now:
        return []
    hours = f"{GRACE.total_seconds() / 3600:g} hours"
    final = [("cannot be restored", ", ".join(report.final))] if report.final else []
    if report.dry_run:
        return [("their data", f"would no longer be visible to readers; data would be removed in {hours}"), *final]
    recoverable = [reference for reference in report.marked if reference not in report.final]
    return [
        (
            "their data",
            f"no longer visible to readers; data is removed in {hours} (by the next fsck --delete after that)",
        ),
        *[("until then", f"millrace undelete {reference}") for reference in recoverable[:1]],
        *final,
    ]
