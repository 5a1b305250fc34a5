"""Find conditions of a query that hold for each row of an input alone, and write them as a filter of that input.

A condition is used only where SQL and the filters of datasets give it the same meaning for the type of its column.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import pyarrow as pa

from millrace.dataset import as_condition
from millrace.errors import UsageError
from millrace.training.prepare.query.parsed import Node
from millrace.training.prepare.query.tables import TableUse, sources

_SIGNS: Final = {
    "COMPARE_EQUAL": ("=", "="),
    "COMPARE_NOTEQUAL": ("!=", "!="),
    "COMPARE_LESSTHAN": ("<", ">"),
    "COMPARE_GREATERTHAN": (">", "<"),
    "COMPARE_LESSTHANOREQUALTO": ("<=", ">="),
    "COMPARE_GREATERTHANOREQUALTO": (">=", "<="),
}
"""Each comparison as it is, and with its sides exchanged."""
_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d(?: \d\d:\d\d:\d\d(?:\.\d{1,6})?)?")
_INTEGER: Final = re.compile(r"-?\d{1,20}")


def pushed_filter(use: TableUse, uses: Sequence[TableUse], schemas: Mapping[str, pa.Schema]) -> str | None:
    """Return the filter for an input that the query reads at ``use`` only, or None."""
    if sum(other.input == use.input for other in uses) != 1 or use.select.get("type") != "SELECT_NODE":
        return None
    if use.table["column_name_alias"] or not _is_kept(use.select["from_table"], use.table):
        return None
    finder = _Conditions(use, uses, schemas)
    texts = filter(None, map(finder.text, _parts(use.select.get("where_clause"))))
    found = [text for text in texts if _is_valid(text, schemas[use.input])]
    return " and ".join(found) or None


def _is_valid(text: str, schema: pa.Schema) -> bool:
    """Return whether filters accept the text: they refuse a number or a time outside of the column's type."""
    try:
        as_condition(text, schema)
    except UsageError:
        return False
    return True


def _is_kept(source: Any, table: Node) -> bool:
    """Return whether a row of the table that WHERE refuses can change nothing else in the FROM.

    That is not so for the side of an outer join that is filled with nulls, nor for the side in which ASOF searches.
    """
    if source is table:
        return True
    if not isinstance(source, dict) or source.get("type") != "JOIN":
        return False
    kind, way = source["join_type"], source["ref_type"]
    keeps_left = kind in ("INNER", "LEFT", "SEMI", "ANTI") and way in ("REGULAR", "CROSS", "ASOF")
    keeps_right = kind == "INNER" and way in ("REGULAR", "CROSS")
    return (keeps_left and _is_kept(source["left"], table)) or (keeps_right and _is_kept(source["right"], table))


def _parts(condition: Any) -> Iterator[Node]:
    """Yield the parts of a condition that must all be true."""
    if isinstance(condition, dict):
        if condition["type"] == "CONJUNCTION_AND":
            for child in condition["children"]:
                yield from _parts(child)
        else:
            yield condition


class _Conditions:
    """Texts of simple conditions on columns of one table."""

    def __init__(self, use: TableUse, uses: Sequence[TableUse], schemas: Mapping[str, pa.Schema]) -> None:
        self._use = use
        self._columns = {name.lower() for schema in schemas.values() for name in schema.names}
        self._fields = {field.name.lower(): field for field in schemas[use.input]}
        self._results = {str(item.get("alias", "")).lower() for item in use.select["select_list"]}
        self._unqualified = self._own_names(use, uses, schemas)

    def text(self, node: Node) -> str | None:
        """Return the condition in the language of filters, or None where it is not simple or its meaning may differ."""
        match node["class"], node["type"]:
            case "COMPARISON", kind if kind in _SIGNS:
                return self._compared(_SIGNS[kind][0], node["left"], node["right"]) or self._compared(
                    _SIGNS[kind][1], node["right"], node["left"]
                )
            case "BETWEEN", "COMPARE_BETWEEN":
                bounds = [
                    self._compared(sign, node["input"], node[key]) for sign, key in ((">=", "lower"), ("<=", "upper"))
                ]
                return " and ".join(bound for bound in bounds if bound) if all(bounds) else None
            case "OPERATOR", "COMPARE_IN":
                return self._listed(node["children"][0], node["children"][1:])
            case "OPERATOR", "OPERATOR_IS_NULL" | "OPERATOR_IS_NOT_NULL" as kind:
                field = self._field(node["children"][0])
                test = "is null" if kind == "OPERATOR_IS_NULL" else "is not null"
                return f"{_quoted(field.name)} {test}" if field is not None and _is_flat(field.type) else None
        return None

    def _compared(self, sign: str, column: Node, value: Node) -> str | None:
        field = self._field(column)
        text = field and _literal(value, field.type)
        if not text or (pa.types.is_boolean(field.type) and sign not in ("=", "!=")):
            return None
        return f"{_quoted(field.name)} {sign} {text}"

    def _listed(self, column: Node, values: Sequence[Node]) -> str | None:
        field = self._field(column)
        texts = [_literal(value, field.type) for value in values] if field is not None else []
        return f"{_quoted(field.name)} in ({', '.join(map(str, texts))})" if texts and all(texts) else None

    def _own_names(self, use: TableUse, uses: Sequence[TableUse], schemas: Mapping[str, pa.Schema]) -> frozenset[str]:
        """Return the names that mean this table without a qualifier: all, less those of the tables beside it."""
        inputs = {id(other.table): other.input for other in uses}
        beside = [item for item in sources(use.select) if item["type"] != "JOIN" and item is not use.table]
        if any(id(item) not in inputs or item["column_name_alias"] for item in beside):
            return frozenset()
        others = {name.lower() for item in beside for name in schemas[inputs[id(item)]].names}
        return frozenset(self._fields) - others

    def _field(self, node: Node) -> Any:
        """Return the field of a name that can only mean a column of this table, or None."""
        names = [name.lower() for name in node.get("column_names", ())] if node["class"] == "COLUMN_REF" else []
        if not names or names[0] in self._results:
            return None
        if len(names) == 1 and names[0] in self._unqualified:
            return self._fields[names[0]]
        if len(names) == 2 and names[0] == self._use.qualifier and names[0] not in self._columns:
            return self._fields.get(names[1])
        return None


def _literal(node: Node, kind: pa.DataType) -> str | None:
    """Return a literal for a column of that type, or None where SQL may read it in another way than a filter."""
    cast = ""
    if node["class"] == "CAST" and not node.get("try_cast") and node["child"]["class"] == "CONSTANT":
        cast, node = node["type_expr"].get("type_name", "?").lower(), node["child"]
        if cast not in ("date", "timestamp") or node.get("literal", {}).get("kind") != "STRING":
            return None
    given = node.get("literal") if node["class"] == "CONSTANT" else None
    if not given:
        return None
    text = given.get("text", "")
    match given["kind"]:
        case "INTEGER" if pa.types.is_integer(kind) and _INTEGER.fullmatch(text):
            return str(text)
        case "BOOLEAN" if pa.types.is_boolean(kind):
            return str(text)
        case "STRING" if not cast and (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            return _text(text)
        case "STRING" if kind == pa.date32() and cast in ("", "date") and _DAY.fullmatch(text):
            return f"date {_text(text)}"
        case "STRING" if pa.types.is_timestamp(kind) and kind.tz in (None, "UTC"):
            form = _DAY if cast == "date" else _TIME
            return f"timestamp {_text(text)}" if form.fullmatch(text) else None
    return None


def _is_flat(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_temporal(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
    )


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
