"""Find the appends with which a restored version is merged."""

from __future__ import annotations

from collections.abc import Mapping

from millrace.store.catalogue.catalogue import Catalogue
from millrace.store.catalogue.version import Version
from millrace.store.catalogue.version_graph import VersionGraph


def merged_with(catalogue: Catalogue, graph: VersionGraph, version: Version) -> tuple[str, ...]:
    """Return the heads of the latest line with which the next append or repair merges the version.

    An incremental version is not merged with one that has loaded its files again.
    """
    if graph.latest is None or graph.latest.mode == "replace":
        return ()
    heads = graph.heads(graph.latest.root)
    if version.label not in (head.label for head in heads):
        return ()
    loaded = _loads(catalogue, version) if version.mode == "incremental" else {}
    others = [head for head in heads if head.label != version.label]
    return tuple(head.label for head in others if not _loaded_apart(loaded, _loads(catalogue, head) if loaded else {}))


def _loads(catalogue: Catalogue, version: Version) -> dict[str, set[str]]:
    """Return for each file of the version's list the versions that added it."""
    loads: dict[str, set[str]] = {}
    for file in catalogue.pages.files(catalogue.with_content(version)):
        loads.setdefault(file.uri, set()).add(file.added_by)
    return loads


def _loaded_apart(one: Mapping[str, set[str]], other: Mapping[str, set[str]]) -> bool:
    return any(one[uri] - other[uri] and other[uri] - one[uri] for uri in one.keys() & other.keys())
