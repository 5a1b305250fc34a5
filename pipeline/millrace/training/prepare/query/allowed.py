"""Refuse each part of a query that reads something else than rows of its inputs, or whose value is not repeatable."""

from __future__ import annotations

from typing import Final

from millrace.errors import UsageError
from millrace.training.prepare.query.parsed import Node, functions, place, walk

RESERVED: Final = "millrace"
"""Names that begin with it belong to the program."""
_EXPRESSIONS: Final = frozenset({
    "BETWEEN", "CASE", "CAST", "COLLATE", "COLUMN_REF", "COMPARISON", "CONJUNCTION", "CONSTANT", "FUNCTION",
    "LAMBDA", "OPERATOR", "POSITIONAL_REFERENCE", "STAR", "SUBQUERY", "TYPE", "WINDOW",
})  # fmt: skip
_SOURCES: Final = frozenset({"BASE_TABLE", "EMPTY", "EXPRESSION_LIST", "JOIN", "PIVOT", "SUBQUERY", "TABLE_FUNCTION"})
_SELECTS: Final = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE"})
_MODIFIERS: Final = frozenset({"LIMIT_MODIFIER", "ORDER_MODIFIER", "DISTINCT_MODIFIER"})
_ORDERS: Final = frozenset({"ASCENDING", "DESCENDING", "ORDER_DEFAULT"})
_KNOWN: Final = _SOURCES | _SELECTS | _MODIFIERS | _ORDERS
_TABLE_FUNCTIONS: Final = frozenset({"unnest", "range", "generate_series"})
_PRESENT: Final = frozenset({
    "ago", "current_date", "current_localtime", "current_localtimestamp", "current_time", "current_timestamp",
    "get_current_time", "get_current_timestamp", "localtime", "localtimestamp", "now", "today",
    "transaction_timestamp", "txid_current",
})  # fmt: skip
_CHANCE: Final = frozenset({"gen_random_uuid", "random", "reservoir_quantile", "setseed", "uuid", "uuidv4", "uuidv7"})
_BY_TEXT: Final = frozenset({"aggregate", "array_aggr", "array_aggregate", "list_aggr", "list_aggregate"})
"""Functions that call the aggregate whose name is their second argument."""
_SYSTEM: Final = frozenset({
    "current_catalog", "current_database", "current_query", "current_role", "current_schema", "current_schemas",
    "current_setting", "current_user", "get_block_size", "getenv", "getvariable", "in_search_path",
    "parse_duckdb_log_message", "read_blob", "read_text", "session_user", "user", "version",
})  # fmt: skip
_BARE: Final = frozenset({
    "current_catalog", "current_date", "current_role", "current_schema", "current_time", "current_timestamp",
    "current_user", "localtime", "localtimestamp", "session_user", "user",
})  # fmt: skip
"""Functions that SQL calls without parentheses, so that they look like columns."""


def check_allowed(tree: Node, sql: str, what: str) -> None:
    """Raise ``UsageError`` for the first part of the tree that is not on the lists above."""
    for node in walk(tree):
        if reason := _reason(node):
            where = place(sql, node)
            message, _, hint = reason.partition(": ")
            raise UsageError(f"{what} {message}{f' ({where})' if where else ''}", hint=hint)


def _reason(node: Node) -> str:
    """Return why a node is refused, and after a colon the remedy; an empty text where it is allowed."""
    kind = node.get("type")
    if "class" in node:
        return _expression_reason(node)
    if name := _reserved(node):
        return f"uses the name {name!r}: names that begin with {RESERVED} are the program's"
    if isinstance(node.get("sample"), dict):
        return "takes a sample: the rows of a sample differ from run to run; select by a hash of the key"
    if isinstance(kind, str) and kind not in _KNOWN:
        return f"holds {_words(kind)}: write one SELECT over the inputs"
    if kind == "BASE_TABLE":
        return _table_reason(node)
    if kind == "TABLE_FUNCTION":
        name = _name(node["function"])
        if name not in _TABLE_FUNCTIONS:
            return f"reads rows from the function {name}: only the declared inputs can be read"
    return ""


def _expression_reason(node: Node) -> str:
    kind = node["class"]
    if kind == "PARAMETER":
        return "has a parameter: write the value"
    if kind not in _EXPRESSIONS:
        return f"holds {_words(kind)}: write one SELECT over the inputs"
    if name := _reserved(node):
        return f"uses the name {name!r}: names that begin with {RESERVED} are the program's"
    if kind in ("FUNCTION", "WINDOW"):
        return function_reason(_name(node), len(node["arguments"])) or _named_reason(node)
    names = node.get("column_names", ())
    if kind == "COLUMN_REF" and len(names) == 1 and names[0].lower() in _BARE:
        reason = function_reason(names[0].lower(), 0).partition(":")[0]
        return f"{reason}: write a column of that name as ALIAS.{names[0]}"
    return ""


def _named_reason(node: Node) -> str:
    """Return why a function that calls an aggregate by a text is refused, or an empty text."""
    if _name(node) not in _BY_TEXT or len(node["arguments"]) < 2:
        return ""
    literal = node["arguments"][1]["expression"].get("literal") or {}
    if literal.get("kind") != "STRING":
        return f"calls {_name(node)} with an aggregate that is no literal: write its name in quotes"
    return function_reason(literal["text"].lower(), len(node["arguments"]))


def function_reason(name: str, arguments: int) -> str:
    """Return why a function is refused, or an empty text."""
    known = functions()
    if name in _PRESENT or (name == "age" and arguments == 1):
        return f"calls {name}, a function of the present: use a column with the time"
    if name in _CHANCE:
        return f"calls {name}, a function of chance: use a hash of the key, such as md5"
    if name in _SYSTEM or name in known["volatile"] or name in known["catalogue"]:
        return f"calls {name}, a function that does not depend on the rows alone: leave it out"
    own = known["scalar"] | known["aggregate"] | known["macro"] | known["window"] | {"unnest"}
    return "" if name in own else f"calls {name}, which is no function of DuckDB's core: use another one"


def _table_reason(node: Node) -> str:
    name = node["table_name"]
    if node["schema_name"] or node["catalog_name"]:
        parts = ".".join(part for part in (node["catalog_name"], node["schema_name"], name) if part)
        return f"reads {parts}: name an input by its alias alone"
    return "reads a table at another time: give the version in inputs" if node.get("at_clause") else ""


def _name(node: Node) -> str:
    return str(node["qualified_name"]["path"][-1]).lower()


def _reserved(node: Node) -> str:
    """Return a name in the node that begins with the program's prefix, or an empty text."""
    names = [node.get(key) for key in ("alias", "table_name", "schema_name", "catalog_name", "cte_name", "key")]
    for key in ("column_names", "column_name_alias", "aliases", "using_columns", "unpivot_names"):
        names += node.get(key) or []
    for entry in node.get("rename_list") or []:
        names += entry.values() if isinstance(entry, dict) else [entry]
    names += (node.get("qualified_name") or {}).get("path", [])
    return next((name for name in names if isinstance(name, str) and name.lower().startswith(RESERVED)), "")


def _words(kind: str) -> str:
    if kind == "SHOW_REF":
        return "DESCRIBE, SHOW or SUMMARIZE"
    return kind.replace("_", " ").lower().removesuffix(" node")
