"""Open a connection to DuckDB that reaches nothing but its own database, and translate its errors."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

from millrace.display import shortened
from millrace.errors import MillraceError, UsageError
from millrace.settings import missing_extra
from millrace.training.prepare.engine.scratch import Scratch
from millrace.training.prepare.engine.sql import literal

QUERY: Final = "the query"
_MESSAGE_MAX: Final = 400
_STREAMS: Final = 4
_COLUMN: Final = re.compile(r'[Cc]olumn (?:named )?"([^"]+)"')
_KIND: Final = re.compile(r"^[A-Z][A-Za-z ]+ Error: ")
_PATH: Final = re.compile(r"(?<![\w.])/(?:[\w.@%+~-]+/)+[\w.@%+~-]*")


def open_database(
    path: Path, scratch: Scratch, *, memory_bytes: int, threads: int, ordered: bool
) -> tuple[Any, list[Any]]:
    """Return a connection whose settings are locked, and cursors of it for streams.

    The progress bar is a setting of each cursor, and DuckDB prints it to standard output in a notebook. So the cursors
    are made before the lock.

    Settings are global, because each cursor is a connection of its own. Access to files is forbidden after the folder
    of temporary files is named, and the lock comes last: the other order fails.
    """
    if reason := missing_extra("prepare"):
        raise UsageError(f"data cannot be prepared: {reason}")
    import duckdb

    connection = duckdb.connect(str(path))
    for name, value in (
        ("temp_directory", str(scratch.path / "temporary")),
        ("memory_limit", f"{memory_bytes}B"),
        ("threads", threads),
        ("TimeZone", "UTC"),
        ("asof_loop_join_threshold", 0),
        ("preserve_insertion_order", ordered),
        ("python_enable_replacements", False),
        *([("max_temp_directory_size", f"{scratch.room_bytes}B")] if scratch.room_bytes is not None else []),
        ("enable_external_access", False),
    ):
        connection.execute(f"SET GLOBAL {name} = {literal(value)}").fetchall()
    cursors = [connection.cursor() for _ in range(_STREAMS)]
    for cursor in (connection, *cursors):
        cursor.execute("SET enable_progress_bar = false").fetchall()
    connection.execute("SET GLOBAL lock_configuration = true").fetchall()
    return connection, cursors


def as_usage_error(
    error: Exception, scratch: Scratch, subject: str, *, lines_before: int = 0, hidden: Collection[str] = ()
) -> MillraceError:
    """Return an error of DuckDB as one line without paths; a full disk becomes the error for that.

    ``subject`` is the part of the entry that failed. Only a line of ``QUERY`` is shown: other text is the program's.
    ``lines_before`` is the number of lines that the program put before the user's text. ``hidden`` are the columns
    that a query may not use.
    """
    import duckdb

    text = str(error)
    if "No space left" in text or "max_temp_directory_size" in text or "Could not write" in text:
        return scratch.full()
    if isinstance(error, duckdb.OutOfMemoryException):
        return UsageError(
            f"the preparation of {scratch.name} needs more memory than DuckDB may use: "
            f"{_one_line(text.splitlines()[0])}",
            hint="raise the setting training.memory_bytes",
        )
    hint = "; ".join(filter(None, (_later(text, hidden), _place(text, lines_before) if subject == QUERY else "")))
    return UsageError(f"{subject} of {scratch.name} failed: {_one_line(text)}", hint=hint)


def _later(text: str, hidden: Collection[str]) -> str:
    """Return the remedy where DuckDB misses a column that the view lacks because it is in ``after``."""
    named = {name.lower() for name in _COLUMN.findall(text)}
    later = next((column for column in hidden if column.lower() in named), None)
    return f"{later} is in after, and the query cannot use it" if later else ""


def _one_line(text: str) -> str:
    # A view is a list of values to DuckDB, but an input to the user.
    head = _KIND.sub("", text.split("\nLINE ")[0]).replace("Values list ", "Input ")
    return shortened(" ".join(_PATH.sub("...", head).split()), _MESSAGE_MAX)


def _place(text: str, lines_before: int) -> str:
    """Return the line of the query at which DuckDB points."""
    match = re.search(r"^LINE (\d+): (.*)$", text, re.MULTILINE)
    return f"line {int(match[1]) - lines_before}: {shortened(match[2].strip(), 120)}" if match else ""
