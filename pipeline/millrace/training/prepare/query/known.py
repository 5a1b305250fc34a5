"""Check that the time in ``known`` can be that of its input, as far as the query shows it.

A time that another input or a constant gives would pass each comparison with ``at``, and say nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from millrace.errors import UsageError
from millrace.names import parse_reference
from millrace.training.prepare.entry import ALWAYS, Preparation
from millrace.training.prepare.query.columns import column_names
from millrace.training.prepare.query.parsed import Node, walk
from millrace.training.prepare.query.tables import TableUse, sources


def check_times(
    preparation: Preparation, tree: Node, uses: Sequence[TableUse], visible: Mapping[str, Collection[str]]
) -> None:
    """Raise ``UsageError`` for a column of ``known`` that the outermost SELECT computes without its input.

    A column that comes from a WITH, a subquery or a star is accepted.
    """
    for alias, name in preparation.known.items():
        item = None if name == ALWAYS else _selected(tree, name)
        found = None if item is None else _inputs_of(item, tree, uses, visible)
        if found is not None and alias not in found:
            raise UsageError(
                f"known: the query of {preparation.name} computes {name!r} without a column of input {alias!r}, so it "
                "does not say when a row of that input was known",
                hint=f"take the time from a column of {alias}; '{ALWAYS}' is for rows that do not change with time",
                column=name,
            )


def check_always(preparation: Preparation, used: Mapping[str, Collection[str]]) -> None:
    """Raise ``UsageError`` where ``always`` covers a column of ``after`` that the main input's dataset gives again."""
    dataset = parse_reference(preparation.inputs[preparation.main])[0]
    after = {name.lower() for name in preparation.after}
    for alias, name in preparation.known.items():
        is_again = name == ALWAYS and parse_reference(preparation.inputs[alias])[0] == dataset
        if is_again and (later := sorted(after & set(used[alias]))):
            raise UsageError(
                f"the query of {preparation.name} uses {later[0]!r} of input {alias!r}, which is in after and so is "
                f"not known '{ALWAYS}'",
                hint="give in known the column of the result with the time at which the row was known",
                column=later[0],
            )


def _selected(tree: Node, name: str) -> Node | None:
    """Return the expression that the outermost SELECT gives this name, or None where it is not certain."""
    if tree.get("type") != "SELECT_NODE":
        return None
    return next((item for item in tree["select_list"] if _result_name(item) == name.lower()), None)


def _result_name(item: Node) -> str:
    names = item.get("column_names") or [""]
    return str(item.get("alias") or names[-1]).lower()


def _inputs_of(
    item: Node, tree: Node, uses: Sequence[TableUse], visible: Mapping[str, Collection[str]]
) -> set[str] | None:
    """Return the inputs whose columns an expression has, or None where a part of it may come from elsewhere."""
    if any(node.get("class") in ("SUBQUERY", "LAMBDA", "POSITIONAL_REFERENCE", "STAR") for node in walk(item)):
        return None
    inputs = {id(use.table): use for use in uses}
    tables = [source for source in sources(tree) if source["type"] not in ("JOIN", "EMPTY")]
    direct = [inputs[id(table)] for table in tables if id(table) in inputs and not table["column_name_alias"]]
    found: set[str] = set()
    for first, *others in ([part.lower() for part in parts] for parts in column_names(item)):
        own = {use.input for use in direct if first == use.qualifier} if others else set()
        if not own and len(direct) == len(tables):
            own = {use.input for use in direct if first in {name.lower() for name in visible[use.input]}}
        if not own:
            return None
        found |= own
    return found
