"""Find the columns of each input that a query uses; where that is not certain, a column counts as used."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from millrace.training.prepare.query.parsed import Node, walk
from millrace.training.prepare.query.tables import TableUse, sources


class ColumnUses:
    """The used columns of each input, in lower case, for a query that reads the inputs at ``uses``."""

    def __init__(self, uses: Sequence[TableUse], visible: Mapping[str, Collection[str]]) -> None:
        self._uses = uses
        self._visible = {alias: {name.lower() for name in names} for alias, names in visible.items()}
        self._used: dict[str, set[str]] = {alias: set() for alias in visible}
        self._qualified: dict[str, set[str]] = {}
        for use in uses:
            self._qualified.setdefault(use.qualifier, set()).add(use.input)

    def of(self, tree: Node) -> dict[str, set[str]]:
        """Return the used columns by input."""
        for select, node in _with_select(tree):
            kind = node.get("class") or node.get("type")
            if kind == "COLUMN_REF":
                self._name(node["column_names"])
            elif kind == "FUNCTION":
                self._name(node["qualified_name"]["path"][:-1])  # column.function(...) is a call too
            elif kind == "STAR":
                self._star(node, select)
            elif kind in ("POSITIONAL_REFERENCE", "PIVOT") or node.get("ref_type") in ("NATURAL", "POSITIONAL"):
                self._all(self._within(select))
            elif kind == "BASE_TABLE" and node["column_name_alias"]:
                self._all(use.input for use in self._uses if use.table is node)
            for name in node.get("using_columns") or ():
                self._everywhere(name)
        return self._used

    def _name(self, parts: Sequence[str]) -> None:
        """Count a name such as ``column``, ``table.column`` or ``column.field``, in every way it may be read."""
        if not parts:
            return
        names = [part.lower() for part in parts]
        self._everywhere(names[0])
        for index, name in enumerate(names):  # a schema may stand before the table
            inputs = self._qualified.get(name, set())
            if index == len(names) - 1:
                self._all(inputs)  # the name of a table alone is its whole row
            for alias in inputs if index < len(names) - 1 else ():
                self._used[alias] |= {names[index + 1]} & self._visible[alias]

    def _star(self, node: Node, select: Node) -> None:
        if relation := node["relation_name"].lower():
            self._everywhere(relation)  # all fields of a column
            self._all(self._qualified.get(relation, set()))
        else:
            self._all(self._within(select))

    def _everywhere(self, name: str) -> None:
        for alias, visible in self._visible.items():
            self._used[alias] |= {name.lower()} & visible

    def _all(self, inputs: Iterable[str]) -> None:
        for alias in inputs:
            self._used[alias] |= self._visible[alias]

    def _within(self, select: Node) -> list[str]:
        """Return the inputs in the FROM of a SELECT; a UNION has none of its own."""
        tables = [id(source) for source in sources(select)]
        return [use.input for use in self._uses if id(use.table) in tables]


def column_names(tree: Any) -> Iterator[list[str]]:
    """Yield the parts of each name of a column in an expression."""
    for node in walk(tree):
        if node.get("class") == "COLUMN_REF":
            yield node["column_names"]
        elif node.get("class") == "FUNCTION" and len(node["qualified_name"]["path"]) > 1:
            yield node["qualified_name"]["path"][:-1]


def _with_select(tree: Node) -> Iterator[tuple[Node, Node]]:
    """Yield each node with the innermost SELECT around it."""
    waiting: list[tuple[Node, Any]] = [(tree, tree)]
    while waiting:
        select, item = waiting.pop()
        if isinstance(item, list):
            waiting += [(select, part) for part in item]
        elif isinstance(item, dict):
            if str(item.get("type")).endswith("_NODE"):
                select = item
            yield select, item
            waiting += [(select, part) for part in item.values()]
