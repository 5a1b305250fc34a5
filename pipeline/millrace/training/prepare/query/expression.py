"""Check an expression of a declaration, such as ``arr_delay > 15``, and find the columns that it uses."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from millrace.errors import UsageError
from millrace.names import nearest
from millrace.training.prepare.query.allowed import check_allowed
from millrace.training.prepare.query.columns import column_names
from millrace.training.prepare.query.parsed import Node, functions, parsed_select, walk

_SCALAR: Final = "write one expression over the columns of a row"


def expression_columns(text: str, columns: Collection[str], what: str) -> frozenset[str]:
    """Return the columns that an expression uses, as ``columns`` spells them.

    ``what`` names the expression in messages, for example ``target``. Raises ``UsageError`` for an unknown column, and
    for anything that is not one value per row: subqueries, aggregates, windows, stars, several statements, comments.
    """
    _check_plain(text, what)
    tree = parsed_select(text, what, prefix="SELECT ")
    _check_single(tree, what)
    check_allowed(tree, "", what)
    for node in walk(tree):
        _check_scalar(node, columns, what)
    spelled = {name.lower(): name for name in columns}
    lambdas = {name.lower() for node in walk(tree) for name in _parameters(node)}
    used = [parts for parts in column_names(tree) if parts[0].lower() not in lambdas]
    for name, *inner in used:
        if name.lower() not in spelled:
            raise UsageError(
                f"{what} uses the column {name!r}, which is not there",
                hint=_column_hint(name, inner, columns),
                column=name,
            )
    return frozenset(spelled[name.lower()] for name, *_ in used)


def _column_hint(name: str, inner: Sequence[str], columns: Collection[str]) -> str:
    if inner and inner[0].lower() in {column.lower() for column in columns}:
        return f"write {inner[0]} without {name}, because an expression has the columns of the main input alone"
    near = nearest(name, columns)
    return f"did you mean {near[0]}?" if near else "write text in 'single quotes'"


def _check_plain(text: str, what: str) -> None:
    """Refuse comments and semicolons, because the expression becomes a part of a longer statement."""
    from sqlglot import Dialect
    from sqlglot.errors import TokenError

    try:
        tokens = Dialect.get_or_raise("duckdb").tokenize(text)
    except TokenError as error:
        raise UsageError(f"{what} cannot be parsed: {' '.join(str(error).split())}") from None
    if not tokens:
        raise UsageError(f"{what} is empty", hint=_SCALAR)
    if any(token.comments or token.token_type.name == "SEMICOLON" for token in tokens):
        raise UsageError(f"{what} holds a comment or a semicolon", hint=_SCALAR)


def _check_single(tree: Node, what: str) -> None:
    parts = ("modifiers", "where_clause", "group_expressions", "having", "qualify", "sample")
    is_bare = tree["type"] == "SELECT_NODE" and tree["from_table"]["type"] == "EMPTY" and not tree["cte_map"]["map"]
    if not is_bare or len(tree["select_list"]) != 1 or any(tree[part] for part in parts):
        raise UsageError(f"{what} is not one expression", hint=_SCALAR)
    if tree["select_list"][0]["alias"]:
        raise UsageError(f"{what} gives the expression a name", hint="leave out AS and the name")


def _check_scalar(node: Node, columns: Collection[str], what: str) -> None:
    kind = node.get("class")
    name = str(node.get("function_name", "")).lower()
    if kind in ("SUBQUERY", "STAR", "WINDOW", "POSITIONAL_REFERENCE"):
        words = {"SUBQUERY": "a subquery", "STAR": "a star", "WINDOW": "a window", "POSITIONAL_REFERENCE": "a position"}
        raise UsageError(f"{what} holds {words[kind]}", hint=_SCALAR)
    known = functions()
    if kind == "FUNCTION" and (name == "unnest" or name in known["aggregate"] - known["scalar"] or name in _MACROS):
        raise UsageError(f"{what} calls {name}, which does not give one value per row", hint=_SCALAR)
    shadowed = {name.lower() for name in _parameters(node)} & {name.lower() for name in columns}
    if shadowed:
        raise UsageError(f"{what} has a lambda whose parameter {min(shadowed)!r} is a column", hint="rename it")


_MACROS: Final = frozenset({
    "generate_subscripts", "geomean", "geometric_mean", "json_group_array", "json_group_object",
    "json_group_structure", "regexp_split_to_table", "variant_group_array", "wavg", "weighted_avg",
})  # fmt: skip
"""Macros that hold an aggregate, or make several rows."""


def _parameters(node: Node) -> list[str]:
    """Return the names of the parameters of a lambda."""
    if node.get("class") != "LAMBDA" or node.get("syntax_type") != "LAMBDA_KEYWORD":
        return []
    return [parts[0] for parts in column_names(node["lhs"])]
