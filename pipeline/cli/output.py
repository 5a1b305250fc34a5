"""What people and machines see: JSON and tables on standard output, single lines on standard error."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

__all__ = [
    "human_bytes",
    "human_seconds",
    "one_line",
    "print_facts",
    "print_json",
    "print_table",
    "say",
    "saying_through",
    "visible",
    "warn",
]

_UNITS = ("kB", "MB", "GB", "TB", "PB")
_UNBOUNDED = 100_000
"""Columns of a table that no terminal limits: piped output is never cut."""

_printer: list[Callable[[str], None]] = []


def human_bytes(count: float) -> str:
    """``31.2 MB``: decimal units, three digits."""
    if abs(count) < 1000:
        return f"{count:.0f} B"
    for unit in _UNITS:
        count /= 1000
        if abs(count) < 999.5 or unit == _UNITS[-1]:
            break
    return f"{count:.{2 if abs(count) < 9.995 else 1 if abs(count) < 99.95 else 0}f} {unit}"


def human_seconds(seconds: float) -> str:
    """``0.42 s``, ``12.3 s``, ``2:05``, ``1:02:05``."""
    if seconds < 59.95:
        return f"{seconds:.{2 if seconds < 10 else 1}f} s"
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"


def visible(text: str) -> str:
    """The text with every character that could move the cursor written out."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def one_line(text: object) -> str:
    """One printable line, whatever the text holds."""
    return visible(" ".join(str(text).split()))


def say(text: str) -> None:
    """One line on standard error, above a progress bar if one is drawn."""
    if _printer:
        _printer[-1](text)
        return
    print(text, file=sys.stderr, flush=True)


def warn(text: object) -> None:
    """One line on standard error that says it is a warning."""
    say(f"millrace: warning: {one_line(text)}")


@contextmanager
def saying_through(printer: Callable[[str], None]) -> Iterator[None]:
    """While this lasts, ``say`` goes to ``printer``: a progress bar owns the terminal."""
    _printer.append(printer)
    try:
        yield
    finally:
        _printer.remove(printer)


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    print(json.dumps(value, indent=2, default=_plain), flush=True)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, UUID):
        return value.hex
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, (set, frozenset, tuple)):
        return list(value)
    return str(value)


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[str] = (), title: str = ""
) -> None:
    """A table on standard output; the columns named in ``right`` are numbers. As wide as it is when piped."""
    from rich.table import Table

    table = Table(box=_box(), title=title or None, title_justify="left", pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(_text(column), justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_text(cell) for cell in row))
    _print(table)


def print_facts(facts: Iterable[tuple[str, object]], *, title: str = "") -> None:
    """Names and values, one a line, on standard output."""
    from rich.table import Table

    table = Table(box=None, show_header=False, title=title or None, title_justify="left", pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in facts:
        table.add_row(_text(name), _text(value))
    _print(table)


def _text(value: object) -> Any:
    from rich.text import Text

    if isinstance(value, Text):
        return value
    shown = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
    return Text(visible(shown))


def _box() -> Any:
    from rich import box

    return box.SIMPLE_HEAD if _encodes("─") else box.ASCII


def _encodes(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _print(what: Any) -> None:
    """Drawn in memory and written at once: rich ends the process when a pipe breaks, we do that ourselves."""
    from rich.console import Console

    tty = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if tty else _UNBOUNDED
    console = Console(file=io.StringIO(), force_terminal=tty, width=width, highlight=False, emoji=False)
    console.print(what)
    drawn = console.file.getvalue()  # type: ignore[attr-defined] # the StringIO given above
    # The box has an upper and a lower edge of spaces.
    text = "\n".join(line.rstrip(" ") for line in drawn.splitlines()).strip("\n") + "\n"
    if not _encodes(text):
        text = text.encode(sys.stdout.encoding or "utf-8", "backslashreplace").decode(sys.stdout.encoding or "utf-8")
    sys.stdout.write(text)
    sys.stdout.flush()
