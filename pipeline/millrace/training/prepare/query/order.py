"""Decide whether the result of a query may depend on the order in which its rows are read."""

from __future__ import annotations

from typing import Final

from millrace.training.prepare.query.parsed import Node, functions, walk

_ROW_MACROS: Final = frozenset({"date_add", "days_in_month", "fdiv", "if", "json", "nullif", "split_part"})
"""Macros without an aggregate, besides those of lists; another one may hold an aggregate."""


def depends_on_order(tree: Node) -> bool:
    """Return whether the query has a part whose result two threads may change; such a query runs in one."""
    return any(_is_ordered(node) for node in walk(tree))


def _is_ordered(node: Node) -> bool:
    kind = node.get("class") or node.get("type")
    if kind in ("WINDOW", "LIMIT_MODIFIER", "DISTINCT_MODIFIER", "RECURSIVE_CTE_NODE", "PIVOT"):
        return True
    if kind == "FUNCTION":
        name = node["function_name"].lower()
        known = functions()
        is_macro = name in known["macro"] and name not in _ROW_MACROS and not name.startswith(("list_", "array_"))
        return name in known["aggregate"] or is_macro
    if kind == "SUBQUERY" and "class" in node:
        return bool(node["subquery_type"] == "SCALAR")
    if kind == "SET_OPERATION_NODE":
        return not node.get("setop_all") or node["setop_type"] != "UNION"
    if kind == "SELECT_NODE":
        return bool(node["group_expressions"] or node["aggregate_handling"] != "STANDARD_HANDLING")
    return node.get("ref_type") in ("ASOF", "POSITIONAL")
