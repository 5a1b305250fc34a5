"""Print results and messages: JSON and tables on standard output, single lines on standard error."""

from __future__ import annotations

import io
import json
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import Any, Literal
from uuid import UUID

_UNBOUNDED = 100_000
"""Width of a table that no terminal limits: piped output is never cut."""
_GAP = 3
_EDGES = -1
"""Width of the gap after each column of a table, and the additional width of the whole table."""
_FOLDED_MIN = 16
_VALUE_MIN = 20
"""Minimum width of a folded cell, and of a value beside its name."""

_printer: list[Callable[[str], None]] = []


def visible(text: str) -> str:
    """Return the text with an escape sequence such as ``\\x1b`` for each character that is not printable."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def one_line(text: object) -> str:
    """Return the text as one printable line."""
    return visible(" ".join(str(text).split()))


def say(text: str) -> None:
    """Print one line on standard error, above a progress bar if one is drawn."""
    if _printer:
        _printer[-1](text)
        return
    print(text, file=sys.stderr, flush=True)


def warn(text: object) -> None:
    """Print a warning as one line on standard error."""
    say(f"millrace: warning: {one_line(text)}")


@contextmanager
def printing_through(printer: Callable[[str], None]) -> Iterator[None]:
    """Send the lines of ``say`` to ``printer`` within the block: a progress bar may be drawn below them."""
    _printer.append(printer)
    try:
        yield
    finally:
        _printer.remove(printer)


def print_json(value: Any) -> None:
    """Print one JSON document on standard output."""
    print(json.dumps(value, indent=2, default=_to_jsonable), flush=True)


def _to_jsonable(value: Any) -> Any:
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


def print_lines(text: str) -> None:
    """Print lines of text on standard output as they are; none is wrapped or styled."""
    from rich.text import Text

    _print(Text(text))


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    right: Sequence[str] = (),
    folding: Sequence[str] = (),
    spare: Sequence[str] = (),
    title: str = "",
) -> None:
    """Print a table on standard output; the columns named in ``right`` are numbers.

    Piped output has its natural width. On a terminal only cells of the columns named in ``folding`` take several lines,
    so that no name or id is broken. If the table does not fit, columns named in ``spare`` are left out, first to last,
    and named below it. If that is not enough, each row is a block of ``title: value`` lines with every column.
    """
    from rich import box
    from rich.table import Table

    body = [[cell for _, cell in zip(columns, row, strict=True)] for row in rows]
    _print_title(title)
    kept = _fitting(columns, body, folding, spare) if body else list(range(len(columns)))
    if not kept:
        _print_blocks(columns, body)
        return
    left_out = [column for index, column in enumerate(columns) if index not in kept]
    columns, body = [columns[index] for index in kept], [[row[index] for index in kept] for row in body]
    table = Table(box=box.SIMPLE_HEAD if _encodes("─") else box.ASCII, pad_edge=False, header_style="bold")
    for column in columns:
        justify: Literal["left", "right"] = "right" if column in right else "left"
        table.add_column(_text(column), justify=justify, overflow="fold", no_wrap=column not in folding)
    for row in body:
        table.add_row(*(_text(cell) for cell in row))
    _print(table, _width() if body else _UNBOUNDED)
    if left_out:
        say(f"not shown: {', '.join(left_out)} (--json, or a wider terminal)")


def _print_blocks(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    for number, row in enumerate(rows):
        if number:
            print()
        print_facts([(f"{column}:" if column else "", cell) for column, cell in zip(columns, row, strict=True)])


def print_facts(facts: Iterable[tuple[str, object]], *, title: str = "") -> None:
    """Print names and values on standard output, one pair per line.

    A value too long for the terminal continues in the next line, broken only between words.
    """
    from rich.cells import cell_len
    from rich.text import Text

    shown = [(visible(name), _text(value)) for name, value in facts]
    _print_title(title)
    indent = max((cell_len(name) for name, _ in shown), default=0) + 2
    room = _width() - indent
    for name, value in shown:
        beside = room >= min(_VALUE_MIN, cell_len(value.plain))
        lead = indent if beside else 2
        gap = " " * (indent - cell_len(name)) if beside else f"\n{' ' * lead}"
        _print(Text.assemble((name, "bold"), gap, _wrapped(value, _width() - lead, " " * lead)))


def _print_title(title: str) -> None:
    """Print the title as a line of its own, independent of the width of the table below it."""
    from rich.text import Text

    if title:
        _print(Text(visible(title), style="italic"))


def _wrapped(value: Any, room: int, lead: str) -> Any:
    """Return the text with breaks between words; a word that is longer than ``room`` stays whole."""
    from rich.text import Text

    if len(value.plain) <= room:
        return value
    lines = textwrap.wrap(value.plain, max(1, room), break_long_words=False, break_on_hyphens=False)
    return Text(f"\n{lead}".join(lines), style=value.style)


def _fitting(
    columns: Sequence[str], rows: Sequence[Sequence[object]], folding: Sequence[str], spare: Sequence[str]
) -> list[int]:
    """Return the columns of a table that fits the terminal; none if there is no such table.

    Cells of the columns in ``folding`` may take a few lines.
    """
    from rich.cells import cell_len

    widths = []
    for index, column in enumerate(columns):
        natural = max(cell_len(_text(cell).plain) for cell in (column, *(row[index] for row in rows)))
        widths.append(min(natural, _FOLDED_MIN) + _GAP if column in folding else natural + _GAP)
    kept = list(range(len(columns)))
    waiting = [list(columns).index(column) for column in spare]
    while sum(widths[index] for index in kept) + _EDGES > _width():
        if not waiting:
            return []
        kept.remove(waiting.pop(0))
    return kept


def _width() -> int:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else _UNBOUNDED


def _text(value: object) -> Any:
    from rich.text import Text

    if isinstance(value, Text):
        return value
    shown = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
    return Text(visible(shown))


def _encodes(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _print(what: Any, width: int = _UNBOUNDED) -> None:
    """Draw in memory and write at once.

    rich ends the process when a pipe breaks; Millrace handles a broken pipe itself.
    """
    from rich.console import Console
    from rich.text import Text

    tty = sys.stdout.isatty()
    console = Console(file=io.StringIO(), force_terminal=tty, width=width, highlight=False, emoji=False)
    console.print(what, soft_wrap=isinstance(what, Text))
    drawn = console.file.getvalue()  # type: ignore[attr-defined] # the StringIO given above
    # The box has an upper and a lower edge of spaces.
    text = "\n".join(line.rstrip(" ") for line in drawn.splitlines()).strip("\n") + "\n"
    if not _encodes(text):
        text = text.encode(sys.stdout.encoding or "utf-8", "backslashreplace").decode(sys.stdout.encoding or "utf-8")
    sys.stdout.write(text)
    sys.stdout.flush()
