"""Turn a load report into names and values, which the command prints and a task's log shows as a table."""

from __future__ import annotations

from millrace.display import human_bytes, human_seconds
from millrace.load.columns import columns_line
from millrace.load.report import LoadReport


def report_facts(report: LoadReport, *, dry_run: bool = False, repeated: bool = False) -> list[tuple[str, str]]:
    """Return the facts of a report as text.

    ``repeated`` means that this load was published before and wrote nothing.
    """
    added = f" ({report.total_rows:,} in all)" if report.mode == "append" else ""
    facts = [
        ("rows", f"{report.rows:,}{added}"),
        ("columns", columns_line(report.columns, report.columns_total)),
        ("raw bytes", human_bytes(report.raw_bytes)),
        ("stored bytes", f"{human_bytes(report.stored_bytes)}, {report.ratio:.2f} times smaller"),
        ("chunks", f"{report.chunks:,}"),
    ]
    if not dry_run:
        suffix = f" ({report.under_replicated:,} under-replicated)" if report.degraded else ""
        facts.append(("replicas", f"{report.replicas} each{suffix}"))
    facts += [
        ("seconds", human_seconds(report.seconds)),
        ("rows/s", f"{report.rows_per_s:,.0f}"),
        ("source", report.source),
        ("run", report.run),
    ]
    if report.missing:
        facts.append(("did without", ", ".join(report.missing)))
    if dry_run:
        facts.append(("written", "nothing (dry run)"))
    elif report.skipped:
        facts.append(("written", f"nothing: the source is {report.skipped}"))
    elif repeated:
        facts.append(("written", "nothing: this load was published already"))
    return facts


def report_table(report: LoadReport, *, repeated: bool = False) -> list[str]:
    """Return the lines of a table of names and values under a title, for a log."""
    facts = report_facts(report, repeated=repeated)
    width = max(len(name) for name, _ in facts)
    return [f"{report.dataset}@{report.version}", *(f"  {name:<{width}}  {value}" for name, value in facts)]
