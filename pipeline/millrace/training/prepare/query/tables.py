"""Find which input, or which WITH, each name of a table in a query means."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from millrace.errors import UsageError
from millrace.names import nearest
from millrace.training.prepare.query.parsed import Node, place


@dataclass(frozen=True, slots=True)
class TableUse:
    """One place where a query reads an input: ``select`` is the SELECT whose FROM has it, without those around it."""

    input: str
    table: Node
    select: Node

    @property
    def qualifier(self) -> str:
        """Return the name by which columns are qualified, in lower case."""
        return str(self.table["alias"] or self.table["table_name"]).lower()


class TableFinder:
    """A walk through a query that keeps the names of the WITHs that are valid at each place.

    A name that is neither an input nor such a WITH is refused, because DuckDB would search its own tables for it.
    """

    def __init__(self, inputs: Collection[str], sql: str, what: str) -> None:
        self._inputs = {name.lower(): name for name in inputs}
        self._sql = sql
        self._what = what

    def uses(self, tree: Node) -> list[TableUse]:
        """Return each use of an input; raise ``UsageError`` for a name that is not declared."""
        return list(self._within(tree, frozenset(), tree))

    def _within(self, item: Any, scope: frozenset[str], select: Node) -> Iterator[TableUse]:
        if isinstance(item, list):
            for part in item:
                yield from self._within(part, scope, select)
        if not isinstance(item, dict):
            return
        if str(item.get("type")).endswith("_NODE"):
            select = item
        if item.get("type") == "RECURSIVE_CTE_NODE":
            yield from self._recursive(item, scope)
            return
        if item.get("cte_map"):
            for entry in item["cte_map"]["map"]:
                yield from self._within(entry["value"], scope, select)
                scope |= {self._with_name(entry["key"])}
        if item.get("type") == "BASE_TABLE" and "class" not in item and item["table_name"].lower() not in scope:
            yield TableUse(self._input(item), item, select)
        for key, value in item.items():
            if key != "cte_map":
                yield from self._within(value, scope, select)

    def _recursive(self, node: Node, scope: frozenset[str]) -> Iterator[TableUse]:
        """Search both parts of a recursive WITH; only its second one may read its own rows."""
        own = scope | {self._with_name(node["cte_name"])}
        for key, value in node.items():
            yield from self._within(value, own if key == "right" else scope, node)

    def _with_name(self, name: str) -> str:
        if name.lower() in self._inputs:
            raise UsageError(
                f"{self._what} has a WITH of the name {name!r}, which is an input", hint="give the WITH another name"
            )
        return name.lower()

    def _input(self, table: Node) -> str:
        name = table["table_name"]
        if found := self._inputs.get(name.lower()):
            return found
        near = nearest(name, self._inputs.values())
        hint = f"did you mean {near[0]}?" if near else "the inputs are " + ", ".join(self._inputs.values())
        where = place(self._sql, table)
        raise UsageError(
            f"{self._what} reads {name!r}, which is not a declared input{f' ({where})' if where else ''}", hint=hint
        )


def sources(select: Node) -> Iterator[Node]:
    """Yield the sources in the FROM of a SELECT, joined ones too, but nothing within a subquery."""
    waiting = [select.get("from_table")]
    while waiting:
        source = waiting.pop()
        if isinstance(source, dict):
            yield source
            waiting += [source.get(key) for key in ("left", "right", "source")]
