"""Turn a load report into names and values, which the command prints and a task's log shows as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from millrace.display import human_bytes, human_seconds
from millrace.load.columns import columns_line
from millrace.load.report import LoadReport

_CLASSES_SHOWN: Final = 10


def report_facts(report: LoadReport, *, dry_run: bool = False, repeated: bool = False) -> list[tuple[str, str]]:
    """Return the facts of a report as text.

    ``repeated`` means that this load was published before and wrote nothing.
    """
    if report.error is not None:
        return _failed_facts(report)
    added = f" ({report.total_rows:,} in all)" if report.mode in ("append", "incremental") or report.skipped else ""
    facts = [("state", report.state_in_words)] if report.skipped else []
    facts += [
        ("rows", f"{report.rows:,}{added}"),
        *_set_aside(report),
        ("columns", columns_line(report.columns, report.columns_total)),
        ("raw bytes", human_bytes(report.raw_bytes)),
        ("stored bytes", f"{human_bytes(report.stored_bytes)}, {report.ratio:.2f} times smaller"),
        ("chunks", f"{report.chunks:,}"),
    ]
    if not dry_run:
        suffix = f" ({report.under_replicated:,} under-replicated)" if report.degraded else ""
        facts.append(("replicas", f"{report.replicas} each{suffix}"))
    facts += [
        ("seconds", _seconds(report)),
        ("rows/s", f"{report.rows_per_s:,.0f}"),
        ("source", _source(report)),
        ("run", report.run),
    ]
    facts += _training_facts(report)
    if report.missing:
        facts.append(("did without", ", ".join(report.missing)))
    if dry_run:
        facts.append(("written", "nothing (dry run)"))
    elif report.skipped:
        facts.append(("written", f"nothing: the source is {report.skipped}"))
    elif repeated:
        facts.append(("written", "nothing: this load was published already"))
    return facts


def _failed_facts(report: LoadReport) -> list[tuple[str, str]]:
    facts = [
        ("state", report.state_in_words),
        ("started", report.started),
        ("seconds", _seconds(report)),
        ("source", _source(report)),
        ("run", report.run),
    ]
    return [(name, value) for name, value in facts if value]


def _set_aside(report: LoadReport) -> list[tuple[str, str]]:
    """Return the numbers that are not 0, the version that holds what was set aside, and the changes of the schema."""
    facts = [(name, f"{value:,}") for name, value in report.set_aside if value]
    if report.rejects:
        facts.append(("rejects", report.rejects))
    return facts + [("schema change", change) for change in report.schema_changes]


def _training_facts(report: LoadReport) -> list[tuple[str, str]]:
    """Return the rows of each split, the dropped rows by reason, and the change against the version before."""
    if report.training is None:
        return []
    training = report.training
    facts = [("inputs", ", ".join(training.get("inputs", {}).values()))]
    for name, figures in training.get("splits", {}).items():
        facts.append((f"split {name}", _split(figures, training.get("classes"))))
    if "rows_in" in training:
        dropped = sum(training["dropped"].values())
        reasons = "".join(f"; {count:,} {reason}" for reason, count in training["dropped"].items() if count)
        facts.append(("rows in", f"{training['rows_in']:,}, of which {dropped:,} were dropped{reasons}"))
    if training.get("spilled_bytes"):
        facts.append(("temporary files", human_bytes(training["spilled_bytes"])))
    if changes := training.get("changes"):
        facts.append(("rows before", f"{changes['rows'][0]:,}"))
    facts += [(name, f"{value:.4f}") for name, value in training.get("metrics", {}).items()]
    return facts


def _split(figures: Mapping[str, Any], classes: Sequence[Any] | None) -> str:
    """Return the rows of a split, with the share of each of a few classes."""
    rows = f"{figures['rows']:,} rows"
    counts = figures.get("classes")
    if not classes or not counts or len(classes) > _CLASSES_SHOWN:
        return rows
    shares = (f"{value} {count / max(1, figures['rows']):.1%}" for value, count in zip(classes, counts, strict=True))
    return f"{rows} ({', '.join(shares)})"


def _seconds(report: LoadReport) -> str:
    stages = ", ".join(f"{name} {human_seconds(seconds)}" for name, seconds in report.stages.items())
    return f"{human_seconds(report.seconds)}{f' ({stages})' if stages else ''}"


def _source(report: LoadReport) -> str:
    """Return the address, with format, number and size of the files if they are known."""
    facts = report.source_facts
    if not facts.format:
        return report.source
    files = f"{facts.files:,} file{'s' if facts.files != 1 else ''}"
    return f"{report.source} ({facts.format}, {files}, {human_bytes(facts.bytes)})"


def report_table(report: LoadReport, *, repeated: bool = False) -> list[str]:
    """Return the lines of a table of names and values under a title, for a log."""
    facts = report_facts(report, repeated=repeated)
    width = max(len(name) for name, _ in facts)
    return [report.reference, *(f"  {name:<{width}}  {value}" for name, value in facts)]
