"""``millrace sources``: list and check the declared sources."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from millrace.cli.invocation import Invocation, json_option, pass_invocation
from millrace.cli.output import one_line, print_table, say
from millrace.cli.source_status import add_status, print_status

if TYPE_CHECKING:
    from millrace.declarations import Declarations, SourceEntry

_FIELDS = ("name", "dataset", "mode", "schedule", "uri", "state")


@click.command(short_help="List and check the declared sources.")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--status", is_flag=True, help="Show the last and the next run of each source; this needs Cassandra.")
@json_option
@pass_invocation
def command(invocation: Invocation, /, file: Path | None, status: bool) -> None:
    """List the declared sources of FILE and check each of them, without any service.

    Without FILE it is the setting sources.file: conf/sources.yaml in a checkout, and sources.yaml in the user's
    configuration folder for an installed package. Every error is a line on standard error with file, line and field.
    The exit code is then 1.

    With --status the list shows the last run of each dataset, started by the schedule or by hand: its state (succeeded,
    failed or skipped), version, rows of the version, rejected rows and age; and the next run. Whether Airflow has
    paused the schedule is not known here. If the store does not respond, that is one line on standard error, the list
    is shown without the runs, and the exit code is 1.

    JSON: file, sources (name, dataset, mode, schedule, uri, state: ok or broken, errors), errors (message, file, line,
    field); with --status also status_error, and for each source last_run (run, state, started, age_s, version, rows,
    rejects; null if there is none) and next_run (a time, or null for a source that no time starts).

    \b
    Example:
      millrace sources
      millrace sources --status
      millrace sources conf/sources.yaml --json
    """
    from millrace.declarations import read_sources, sources_path
    from millrace.settings import load_settings

    declared = read_sources(file or sources_path(load_settings()))
    rows = [_row(declared, name) for name in declared.names]
    errors = [{"message": str(error), **error.context} for error in declared.errors]
    facts: dict[str, Any] = {"file": declared.file, "sources": rows, "errors": errors}
    lines = list(map(str, declared.errors))

    def show() -> None:
        if not rows and not errors:
            say(f"no source is declared in {declared.file}")
        elif status and rows:
            print_status(rows, is_known=not facts["status_error"])
        elif rows:
            body = [[_text(row, field) for field in _FIELDS] for row in rows]
            print_table(_FIELDS, body, folding=["uri", "state", "schedule"], spare=["mode"])

    with ExitStack() as stack:
        if status:
            facts["status_error"] = add_status(invocation, stack, declared, rows)
            lines += [f"the last runs are not known: {facts['status_error']}"] if facts["status_error"] else []
        invocation.answer(facts, show)
    for line in lines:
        say(f"millrace: {one_line(line)}")
    if lines:
        raise click.exceptions.Exit(1)


def _row(declared: Declarations[SourceEntry], name: str) -> dict[str, Any]:
    """Return the facts of an entry; those of a broken one, which may have credentials, are null."""
    entry = declared.entries.get(name)
    errors = [str(error) for error in declared.entry_errors.get(name, ())]
    row: dict[str, Any] = {**dict.fromkeys(_FIELDS), "name": name, "state": "broken", "errors": errors}
    if entry is not None:
        schedule = entry.schedule_in_words()
        row |= {
            "dataset": entry.dataset,
            "mode": entry.mode,
            "schedule": schedule,
            "uri": list(entry.uri),
            "state": "ok",
        }
    return row


def _text(row: dict[str, Any], field: str) -> str:
    if field == "state" and row["errors"]:
        return "; ".join(row["errors"])
    value = row[field]
    return ", ".join(value) if isinstance(value, list) else value or ""
