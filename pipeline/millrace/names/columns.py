"""Parse column names that users write as a list or as ``OLD=NEW``, and quote names so that users can copy them."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterable
from typing import Final

from millrace.errors import UsageError

_LISTED_MAX: Final = 30
_MARKS: Final = ",=\n\r\t"
# The repetition is possessive: the first half of a doubled quote never ends a name.
_QUOTED: Final = re.compile(r'\s*"((?:[^"]|"")*+)"\s*')


def parse_columns(text: str) -> list[str]:
    """Return the names in a list like ``a,b,"last, first"``.

    Commas separate names, and blanks around a name do not count. A name in double quotes is taken exactly; a quote
    within it is doubled. Raises ``UsageError`` for no name, a name given twice, and a quote that is not closed.
    """
    names, end = [], -1
    while end < len(text):
        name, end = _name(text, end + 1, ",")
        names.append(name)
    if not all(names) or len(set(names)) < len(names):
        raise UsageError(f"{text!r} is not a list of different columns, as in carrier,arr_delay")
    return names


def parse_rename(text: str) -> tuple[str, str]:
    """Return the names in ``OLD=NEW``; a name with ``=`` or outer blanks must be in double quotes.

    Raises ``UsageError`` for anything else.
    """
    old, middle = _name(text, 0, "=")
    if middle == len(text) or not old:
        raise UsageError(f"{text!r} is not OLD=NEW, as in dep=departure")
    new, end = _name(text, middle + 1, "=")
    if not new or end < len(text):
        raise UsageError(f"{text!r} is not OLD=NEW, as in dep=departure", hint="put names with = in double quotes")
    return old, new


def quoted_column(name: str) -> str:
    """Return the name as ``parse_columns`` and ``parse_rename`` read it: in double quotes where it needs them."""
    is_plain = name and name == name.strip() and not name.startswith('"') and not any(mark in name for mark in _MARKS)
    return name if is_plain else '"' + name.replace('"', '""') + '"'


def column_type_option(name: str, spelling: str = "string") -> str:
    """Return ``--column-type NAME=TYPE`` quoted for a shell; ``sources.types.parse_column_type`` parses it."""
    return f"--column-type {shlex.quote(f'{name}={spelling}')}"


def listed_columns(names: Iterable[str]) -> str:
    """Return the first names as a list for a message, and how many more there are."""
    quoted = [quoted_column(name) for name in names]
    more = f" and {len(quoted) - _LISTED_MAX:,} more" if len(quoted) > _LISTED_MAX else ""
    return ", ".join(quoted[:_LISTED_MAX]) + more


def first_duplicate(names: Iterable[str]) -> str | None:
    """Return the first name that occurs more than once, or None."""
    return next((name for name, count in Counter(names).items() if count > 1), None)


def _name(text: str, start: int, separator: str) -> tuple[str, int]:
    """Return the name that begins at ``start``, and the position of the separator after it, or of the end."""
    if quoted := _QUOTED.match(text, start):
        end = quoted.end()
        if end < len(text) and text[end] != separator:
            raise UsageError(f'{text!r}: {text[end:]!r} follows a name in double quotes; write " within a name as ""')
        return quoted[1].replace('""', '"'), end
    if text[start:].lstrip().startswith('"'):
        raise UsageError(
            f"{text!r}: a double quote opens a name and does not close it", hint='write " within a name as ""'
        )
    name = text[start:].partition(separator)[0]
    return name.strip(), start + len(name)
