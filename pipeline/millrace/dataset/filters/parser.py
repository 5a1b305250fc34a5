"""Parse the WHERE part of SQL: ``month = 1 and (carrier in ('UA', 'B6') or dep_delay is null)``.

The result is a pyarrow expression. The text is split and parsed by sqlglot and never evaluated. Every word is checked
before the text is parsed, so that anything else (functions, arithmetic, subqueries) is refused by name and position.
"""

from __future__ import annotations

from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from millrace.dataset.filters.expressions import ExpressionBuilder
from millrace.dataset.filters.tokens import LANGUAGE, checked_tokens
from millrace.errors import UsageError

_TEXT_MAX: Final = 1_000_000


def parse_filter(text: str, schema: pa.Schema) -> pc.Expression:
    """Parse ``text`` to an expression that selects the rows for which it is true.

    The logic is SQL's three-valued one: unknown is not true. Names are columns of ``schema``, exactly as spelled, in
    double quotes unless they are plain words. Literals are numbers, text in single quotes, ``true``, ``false``,
    ``null``, and dates and times as text or as ``date '2013-01-31'``, ``time '05:00'``,
    ``timestamp '2013-01-31 05:00:00'``. Each literal becomes a value of its column's type. NaN follows IEEE 754: it is
    not equal to any value. Raises ``UsageError`` for anything else, with its position.
    """
    from sqlglot import exp
    from sqlglot.errors import ErrorLevel, ParseError
    from sqlglot.parser import Parser

    if len(text) > _TEXT_MAX:
        raise UsageError(f"the filter has {len(text)} characters", hint=f"at most {_TEXT_MAX} are read")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError("the filter holds bytes that are not UTF-8", hint="write it in UTF-8") from None
    tokens = checked_tokens(text, schema)
    try:
        parsed = Parser(error_level=ErrorLevel.IMMEDIATE).parse_into(exp.Condition, tokens, text)
    except ParseError as error:
        where = error.errors[0] if error.errors else {}
        raise _misplaced(text, where.get("highlight") or "", _offset(text, where)) from None
    except RecursionError:
        raise UsageError("the filter is nested too deeply", hint="write it with fewer parentheses") from None
    if len(parsed) != 1 or parsed[0] is None:
        raise UsageError("the filter is not one condition", hint=LANGUAGE)
    return ExpressionBuilder(schema).condition(parsed[0])


def _offset(text: str, where: dict[str, Any]) -> int:
    """Return the offset of the unexpected text; sqlglot reports line and column of its last character."""
    line, column = int(where.get("line") or 1), int(where.get("col") or 1)
    before = sum(len(row) for row in text.splitlines(keepends=True)[: line - 1])
    return max(0, before + column - len(where.get("highlight") or " "))


def _misplaced(text: str, unexpected: str, offset: int) -> UsageError:
    shown = repr(unexpected) if unexpected else "the text there"
    excerpt = " ".join(text[max(0, offset - 20) : offset + 20].split())
    return UsageError(
        f"the filter cannot be parsed at character {offset + 1}: {shown} is out of place in {excerpt!r}", hint=LANGUAGE
    )
