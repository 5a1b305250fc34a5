"""Check by a second parser, sqlglot, that a query is one SELECT: a text that the two read differently is refused."""

from __future__ import annotations

import logging
from typing import Any

from millrace.errors import UsageError


def check_statement(sql: str, what: str) -> None:
    """Raise ``UsageError`` unless sqlglot reads the text as one SELECT, without anything that it does not know."""
    from sqlglot import exp

    statements = [statement for statement in _parsed(sql, what) if not isinstance(statement, exp.Semicolon | None)]
    if len(statements) != 1:
        raise UsageError(f"{what} holds {len(statements)} statements", hint="write one SELECT")
    tree = statements[0]
    if not isinstance(tree, exp.Query):
        raise UsageError(f"{what} is not a SELECT", hint="write one SELECT")
    refused = tree.find(exp.Command, exp.DDL, exp.DML, exp.Copy, exp.Attach, exp.Set, exp.Pragma, exp.TableSample)
    if refused is not None and not isinstance(refused, exp.Query):
        raise UsageError(f"{what} holds {refused.key.upper()}", hint="write one SELECT over the inputs")


def _parsed(sql: str, what: str) -> list[Any]:
    import sqlglot
    from sqlglot.errors import ErrorLevel, ParseError, SqlglotError

    logger = logging.getLogger("sqlglot")
    was_disabled, logger.disabled = logger.disabled, True  # it warns of syntax that it does not know
    try:
        return sqlglot.parse(sql, dialect="duckdb", error_level=ErrorLevel.IMMEDIATE)
    except ParseError as error:
        first = error.errors[0] if error.errors else {}
        where = f" at line {first.get('line')}, column {first.get('col')}" if first.get("line") else ""
        reason = first.get("description") or str(error).partition("\n")[0]
        raise UsageError(
            f"{what} cannot be checked{where}: {reason}", hint="write it in plainer SQL, for example by WITH"
        ) from None
    except SqlglotError as error:
        raise UsageError(f"{what} cannot be checked: {' '.join(str(error).split())}") from None
    finally:
        logger.disabled = was_disabled
