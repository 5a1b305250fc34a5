"""The graph of one version: the versions that it was made from, and those that were made from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from millrace.names import parse_reference
from millrace.store.catalogue.catalogue import Catalogue
from millrace.store.catalogue.version import WITHDRAWN, Version
from millrace.store.catalogue.version_rows import read_versions
from millrace.store.lineage.lineage import Lineage


@dataclass(frozen=True, slots=True)
class LineageGraph:
    """Versions around one version, directly or not. Inputs may be deleted; versions made from it are visible."""

    reference: str
    """The version, like ``flights@12-3fa9c1``."""
    versions: Mapping[str, Version | None]
    """Every version of the graph by its reference; None for an input of which no row was found."""

    @property
    def made_from(self) -> Mapping[str, str]:
        """The versions that it was made from directly, by alias."""
        return self._inputs(self.reference)

    @property
    def made_into(self) -> tuple[str, ...]:
        """The visible versions that were made from it directly, newest first."""
        return self._outputs(self.reference)

    def state(self, reference: str) -> str:
        """Return ``visible``, ``deleted`` (undelete may restore it), ``withdrawn`` (by its own load) or ``removed``."""
        version = self.versions.get(reference)
        if version is None or version.purged_at is not None:
            return "removed"
        if version.deleted_at is None:
            return "visible"
        return "withdrawn" if version.mark == WITHDRAWN else "deleted"

    def text(self) -> str:
        """Return the graph as two trees of text lines. A version that occurs again has its own tree only once."""
        lines = [self.reference]
        trees = [("made from", self._made_from_lines), ("made into", self._made_into_lines)]
        for last, (title, branches) in enumerate(trees):
            children = list(branches(self.reference, set()))
            lines.append(f"{'└─' if last else '├─'} {title}{'' if children else ': nothing'}")
            lines += [f"{'   ' if last else '│  '}{line}" for line in children]
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Return the graph as JSON-compatible values; ``versions`` has its nodes with their inputs and states."""
        return {
            "version": self.reference,
            "made_from": dict(self.made_from),
            "made_into": list(self.made_into),
            "versions": {
                reference: {
                    "state": self.state(reference),
                    "inputs": dict(self._inputs(reference)),
                    "rows": None if version is None else version.rows,
                    "committed_at": None if version is None else version.committed_at.isoformat(),
                }
                for reference, version in sorted(self.versions.items())
            },
        }

    def _inputs(self, reference: str) -> Mapping[str, str]:
        version = self.versions.get(reference)
        return {} if version is None else version.inputs

    def _outputs(self, reference: str) -> tuple[str, ...]:
        found = [v for v in self.versions.values() if v is not None and reference in v.inputs.values()]
        found.sort(key=lambda version: (version.dataset, -version.number, version.hex))
        return tuple(version.reference for version in found if version.deleted_at is None)

    def _made_from_lines(self, reference: str, seen: set[str]) -> Iterator[str]:
        children = [
            (key, f"{key} as {alias}" + ("" if self.state(key) == "visible" else f", {self.state(key)}"))
            for alias, key in self._inputs(reference).items()
        ]
        return _branches(children, seen, self._made_from_lines)

    def _made_into_lines(self, reference: str, seen: set[str]) -> Iterator[str]:
        return _branches([(key, key) for key in self._outputs(reference)], seen, self._made_into_lines)


def _branches(children: list[tuple[str, str]], seen: set[str], branches: Any) -> Iterator[str]:
    """Yield the lines of these nodes, given by reference and text, each with the lines of its own branches."""
    for number, (reference, text) in enumerate(children, 1):
        last = number == len(children)
        is_first = reference not in seen
        seen.add(reference)
        below = list(branches(reference, seen)) if is_first else []
        yield f"{'└─' if last else '├─'} {text}"
        yield from (f"{'   ' if last else '│  '}{line}" for line in below)


def lineage_graph(catalogue: Catalogue, version: Version) -> LineageGraph:
    """Return the graph of a version.

    Reads the names of derived datasets and their versions, and one version for each input in other datasets.
    """
    lineage = Lineage.read(catalogue.reader.rows)
    versions: dict[str, Version | None] = {version.reference: version}
    versions |= {derived.reference: derived for derived in lineage.derived([version.reference])}
    waiting = list(version.inputs.values())
    while waiting:
        reference = waiting.pop()
        if reference not in versions:
            found = versions[reference] = _version(catalogue, reference)
            waiting += [] if found is None else found.inputs.values()
    return LineageGraph(version.reference, versions)


def _version(catalogue: Catalogue, reference: str) -> Version | None:
    """Return the version of a full reference, deleted or not, or None where there is no such row."""
    name, selector = parse_reference(reference)
    number, hexpart = selector.full or (0, "")
    rows = read_versions(catalogue.reader.rows, name, " AND number = ?", (number,))
    return next((version for version in rows if version.hex == hexpart), None)
