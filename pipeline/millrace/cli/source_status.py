"""The last and the next run of each declared source, for ``millrace sources --status``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from millrace.cli.invocation import Invocation, open_store
from millrace.cli.output import print_table
from millrace.errors import StoreError

if TYPE_CHECKING:
    from millrace.declarations import Declarations, SourceEntry
    from millrace.store import DatasetRun

_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
_COLUMNS: Final = ("name", "last run", "version", "rows", "rejects", "age", "next run")


def add_status(
    invocation: Invocation, stack: ExitStack, declared: Declarations[SourceEntry], rows: Sequence[dict[str, Any]]
) -> str:
    """Add ``last_run`` and ``next_run`` to the row of each entry, null where they are not known.

    ``stack`` keeps the store open. Returns the error of a store that does not respond, else an empty text.
    """
    now, error_text = datetime.now(UTC), ""
    runs: dict[str, DatasetRun | None] = {}
    try:
        store = stack.enter_context(open_store(invocation))
        runs = {entry.dataset: store.last_run(entry.dataset) for entry in declared.entries.values()}
    except StoreError as error:
        error_text = str(error)
    for row in rows:
        entry, run = declared.entries.get(row["name"]), runs.get(row["dataset"])
        # Without the last run, the next one of an interval is not known either.
        is_known = entry is not None and not (error_text and entry.interval)
        following = entry.next_run(run.started if run else None, now) if entry and is_known else None
        row["last_run"] = None if run is None else _last_run(run, now)
        row["next_run"] = None if following is None else following.isoformat(timespec="seconds")
    return error_text


def _last_run(run: DatasetRun, now: datetime) -> dict[str, Any]:
    return {
        "run": run.run,
        "state": run.state,
        "started": run.started.isoformat(timespec="milliseconds"),
        "age_s": round(max(0.0, (now - run.started).total_seconds()), 1),
        "version": run.version,
        "rows": run.rows,
        "rejects": run.rejects,
    }


def print_status(rows: Sequence[dict[str, Any]], *, is_known: bool) -> None:
    """Print a table of the entries with their last and next runs, or without the last ones unless they are known."""
    without = "none" if is_known else "not known"
    body = [[row["name"], *_last_texts(row, without), _next_text(row)] for row in rows]
    print_table(_COLUMNS, body, right=["rows", "rejects"], folding=["next run"])


def _last_texts(row: dict[str, Any], without: str) -> list[str]:
    run = row["last_run"]
    if run is None:
        return [without if row["state"] == "ok" else row["state"], "", "", "", ""]
    rows = f"{run['rows']:,}" if run["version"] else ""
    return [run["state"], run["version"] or "", rows, f"{run['rejects']:,}", _age(run["age_s"])]


def _age(seconds: float) -> str:
    """Return an age in its largest unit, such as ``3 d``, ``5 h``, ``12 min`` or ``40 s``."""
    number, unit = next((seconds // size, unit) for size, unit in _UNITS if seconds >= size or size == 1)
    return f"{number:.0f} {unit}"


def _next_text(row: dict[str, Any]) -> str:
    if row["next_run"] is None:
        return row["schedule"] or ""
    return f"{datetime.fromisoformat(row['next_run']):%Y-%m-%d %H:%M %Z}"
