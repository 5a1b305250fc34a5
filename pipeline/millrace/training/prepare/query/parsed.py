"""Parse SQL by DuckDB's own parser, so that a query is checked exactly as it will run. Nothing is executed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Final, TypeAlias

from millrace.errors import UsageError
from millrace.settings import missing_extra

Node: TypeAlias = dict[str, Any]
"""A node of DuckDB's tree: an expression (with ``class``), a source of rows, a modifier, or a SELECT."""
TEXT_MAX: Final = 1_000_000


def parsed_select(sql: str, what: str, *, prefix: str = "") -> Node:
    """Return the tree of a text that is one SELECT; raise ``UsageError`` for any other, with line and column.

    ``what`` names the text in messages. ``prefix`` comes before the text; positions do not count it.
    """
    _check_text(sql, what)
    sql = prefix + sql
    with _parser() as connection:
        return _checked_select(connection, sql, what, len(prefix))


def _checked_select(connection: Any, sql: str, what: str, prefixed: int) -> Node:
    import duckdb

    try:
        statements = connection.extract_statements(sql)
    except duckdb.ParserException as error:
        raise _syntax_error(sql, str(error), what, prefixed) from None
    except duckdb.Error as error:
        raise UsageError(f"{what} cannot be parsed: {' '.join(str(error).split())}") from None
    if len(statements) != 1:
        raise UsageError(f"{what} holds {len(statements)} statements", hint="write one SELECT")
    kind = statements[0].type.name
    if kind == "MULTI":
        raise UsageError(f"{what} has a PIVOT without IN", hint="list the values, as in FOR month IN (1, 2)")
    if kind != "SELECT":
        raise UsageError(f"{what} is a statement of kind {kind}", hint="write one SELECT")
    answer = _serialized(connection, sql, what)
    if answer["error"] or len(answer["statements"]) != 1:
        raise UsageError(f"{what} is not one SELECT: {answer.get('error_message', '')}", hint="write one SELECT")
    node: Node = answer["statements"][0]["node"]
    return node


def place(sql: str, node: Node) -> str:
    """Return ``line 1, column 8`` of a node, or an empty text where DuckDB does not know it."""
    offset = node.get("query_location")
    data = sql.encode()
    return line_and_column(sql, len(data[:offset].decode(errors="ignore"))) if offset in range(len(data)) else ""


def line_and_column(sql: str, offset: int) -> str:
    """Return the line and column, from 1, of a character."""
    before = sql[:offset]
    return f"line {before.count(chr(10)) + 1}, column {offset - before.rfind(chr(10))}"


def walk(node: Any) -> Iterator[Node]:
    """Yield each node of a tree, in no given order."""
    waiting = [node]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            yield item
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)


@cache
def functions() -> dict[str, frozenset[str]]:
    """Return the names of DuckDB's own functions by kind; ``volatile`` and ``catalogue`` are besides the others."""
    sql = "SELECT lower(function_name), function_type, stability, schema_name FROM duckdb_functions()"
    with _parser() as connection:
        rows = connection.execute(sql).fetchall()
    kinds: dict[str, set[str]] = {"volatile": set(), "catalogue": set()}
    for name, kind, stability, schema in rows:
        kinds.setdefault(kind, set()).add(name)
        if stability == "VOLATILE":
            kinds["volatile"].add(name)
        if schema == "pg_catalog":
            kinds["catalogue"].add(name)
    return {kind: frozenset(names) for kind, names in kinds.items()}


@contextmanager
def _parser() -> Iterator[Any]:
    """Give a connection to a database in memory that holds nothing and reaches nothing; it parses only."""
    connection = _database(os.getpid()).cursor()
    try:
        yield connection
    finally:
        connection.close()


@cache
def _database(process: int) -> Any:
    """Return the database of this process; a process that was forked must not use that of its parent, nor close it."""
    if reason := missing_extra("prepare"):
        raise UsageError(f"a query cannot be checked: {reason}")
    import duckdb

    connection = duckdb.connect(":memory:")
    for setting in ("threads = 1", "enable_external_access = false", "lock_configuration = true"):
        connection.execute(f"SET GLOBAL {setting}").fetchall()
    return connection


def _check_text(sql: str, what: str) -> None:
    if not sql.strip():
        raise UsageError(f"{what} is empty", hint="write one SELECT")
    if len(sql) > TEXT_MAX:
        raise UsageError(f"{what} has {len(sql)} characters", hint=f"at most {TEXT_MAX} are read")
    try:
        sql.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{what} holds bytes that are not UTF-8", hint="write it in UTF-8") from None
    if "\0" in sql:
        raise UsageError(f"{what} holds the character NUL", hint="remove it")


def _serialized(connection: Any, sql: str, what: str) -> Node:
    import duckdb

    try:
        answer: Node = json.loads(connection.execute("SELECT json_serialize_sql($1)", [sql]).fetchall()[0][0])
    except RecursionError:
        raise UsageError(f"{what} is nested too deeply", hint="write it in parts, by WITH") from None
    except duckdb.Error as error:
        raise UsageError(f"{what} cannot be parsed: {' '.join(str(error).split())}") from None
    return answer


def _syntax_error(sql: str, message: str, what: str, prefixed: int) -> UsageError:
    """Return the error with line and column, which DuckDB shows by a line of the text and a caret below it."""
    lines = message.splitlines()
    text = lines[0].removeprefix("Parser Error: ")
    shown = next((index for index, line in enumerate(lines) if line.startswith("LINE ")), None)
    if shown is None or shown + 1 >= len(lines):
        return UsageError(f"{what} cannot be parsed: {text}")
    number = int(lines[shown].removeprefix("LINE ").partition(":")[0])
    caret = lines[shown + 1].find("^")
    excerpt = lines[shown].partition(": ")[2]
    column = caret - lines[shown].index(": ") - 1
    if excerpt.startswith("..."):  # a long line is cut; its text is found again in the query
        part = excerpt.removeprefix("...").removesuffix("...")
        whole = sql.splitlines()[number - 1] if number <= len(sql.splitlines()) else ""
        column += whole.find(part) - 3
    if number == 1:
        column -= prefixed
    return UsageError(f"{what} cannot be parsed at line {number}, column {max(1, column)}: {text}")
