"""Parse and quote column names as users write them: in a list, in ``OLD=NEW``, and in messages to copy them from."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable
from typing import Final

from millrace.errors import UsageError

_LISTED_MAX: Final = 30
_MARKS: Final = ",=\n\r\t"


def parse_columns(text: str) -> list[str]:
    """Return the names in a list like ``a,b,"last, first"``.

    Commas separate names, and blanks around a name do not count. A name in double quotes is taken exactly; a quote
    within it is doubled. Raises ``UsageError`` for no name, a name given twice, and a quote that is not closed.
    """
    names, at = [], 0
    while True:
        name, at = _name(text, at, ",")
        names.append(name)
        if at == len(text):
            break
        at += 1
    if not all(names) or len(set(names)) < len(names):
        raise UsageError(f"{text!r} is not a list of different columns, as in carrier,arr_delay")
    return names


def parse_rename(text: str) -> tuple[str, str]:
    """Return the names in ``OLD=NEW``; a name with ``=`` or outer blanks must be in double quotes.

    Raises ``UsageError`` for anything else.
    """
    old, at = _name(text, 0, "=")
    if at == len(text) or not old:
        raise UsageError(f"{text!r} is not OLD=NEW, as in dep=departure")
    new, end = _name(text, at + 1, "=")
    if not new or end < len(text):
        raise UsageError(f"{text!r} is not OLD=NEW, as in dep=departure", hint="put names with = in double quotes")
    return old, new


def quoted_column(name: str) -> str:
    """Return the name as ``parse_columns`` and ``parse_rename`` read it: in double quotes where it needs them."""
    is_plain = name and name == name.strip() and not name.startswith('"') and not any(mark in name for mark in _MARKS)
    return name if is_plain else '"' + name.replace('"', '""') + '"'


def column_type_option(name: str, spelling: str = "string") -> str:
    """Return ``--column-type NAME=TYPE`` as a shell takes it; ``sources.types.parse_column_type`` reads it."""
    return f"--column-type {shlex.quote(f'{name}={spelling}')}"


def listed_columns(names: Iterable[str]) -> str:
    """Return the first names as a list for a message, and how many more there are."""
    every = list(names)
    more = f" and {len(every) - _LISTED_MAX:,} more" if len(every) > _LISTED_MAX else ""
    return ", ".join(map(quoted_column, every[:_LISTED_MAX])) + more


def first_duplicate(names: Iterable[str]) -> str | None:
    """Return the first name that occurs more than once, or None."""
    return next((name for name, count in Counter(names).items() if count > 1), None)


def _name(text: str, start: int, separator: str) -> tuple[str, int]:
    """Return the name that begins at ``start``, and the position of the separator behind it, or of the end."""
    begin = len(text) - len(text[start:].lstrip())
    if not text.startswith('"', begin):
        end = text.find(separator, start)
        stop = len(text) if end < 0 else end
        return text[start:stop].strip(), stop
    at, pieces = begin + 1, []
    while (end := text.find('"', at)) >= 0:
        pieces.append(text[at:end])
        if not text.startswith('"', end + 1):
            return '"'.join(pieces), _separator(text, end + 1, separator)
        at = end + 2
    raise UsageError(f"{text!r}: a double quote opens a name and does not close it", hint='write " within a name as ""')


def _separator(text: str, at: int, separator: str) -> int:
    stop = len(text) - len(text[at:].lstrip())
    if stop < len(text) and text[stop] != separator:
        raise UsageError(f'{text!r}: {text[stop:]!r} follows a name in double quotes; write " within a name as ""')
    return stop
