"""Tags: movable names of versions. They are the only rows that are overwritten on purpose, and are never deleted."""

from __future__ import annotations

import time
from typing import Any

from millrace.errors import VersionNotFoundError
from millrace.names import check_tag
from millrace.store.catalogue.catalogue import Catalogue
from millrace.store.catalogue.version import Version
from millrace.store.cluster.session import CassandraSession
from millrace.store.cluster.writer import Outcome, ReplicatedWriter, Write

__all__ = ["Tags"]

_SET = "INSERT INTO {ks}.tags (dataset, tag, number, hex) VALUES (?, ?, ?, ?) USING TIMESTAMP ?"


class Tags:
    """Sets and removes tags. A move reads the tag's write time first and writes with a later one.

    A later move therefore wins even if its machine's clock is behind.
    """

    def __init__(self, cassandra: CassandraSession, catalogue: Catalogue, writes: ReplicatedWriter) -> None:
        self._cassandra = cassandra
        self._catalogue = catalogue
        self._writes = writes

    def set(self, version: Version, tag: str) -> int:
        """Set the tag to this version and return on how many nodes that is proven.

        Raises ``VersionNotFoundError`` where the version was deleted meanwhile, because a tag does not protect the data
        then. The tag is set back to its previous value.
        """
        values = (version.dataset, check_tag(tag), version.number, version.hex)
        before = next((to for name, *to in self._catalogue.tags(version.dataset) if name == tag), [0, ""])
        proven = self._write(_SET, (*values, self._later(version.dataset, tag)), f"the tag {version.dataset}@{tag}")
        # A deletion checks for tags before it marks a version, and once more before it removes data.
        if all(other.hex != version.hex for other in self._catalogue.numbered(version.dataset, version.number)):
            self._write(_SET, (version.dataset, tag, *before, self._later(version.dataset, tag)), f"the tag {tag}")
            raise VersionNotFoundError(
                f"{version.reference} was deleted a moment ago, so it has no tag",
                dataset=version.dataset,
                version=version.label,
            )
        return proven

    def remove(self, dataset: str, tag: str) -> int:
        """Remove the tag and return on how many nodes that is proven.

        Raises ``VersionNotFoundError`` when there is no tag of that name.
        """
        if tag not in {name for name, _, _ in self._catalogue.tags(dataset)}:
            raise VersionNotFoundError(
                f"{dataset} has no tag {tag!r}", hint=f"millrace versions {dataset} shows its tags", dataset=dataset
            )
        # Not a tombstone, because its write time cannot be read: it would hide a tag that is set later by a machine
        # with a clock that is behind.
        values = (dataset, tag, 0, "", self._later(dataset, tag))
        return self._write(_SET, values, f"the tag {dataset}@{tag}")

    def _later(self, dataset: str, tag: str) -> int:
        query = "SELECT WRITETIME(number) AS at FROM {ks}.tags WHERE dataset = ? AND tag = ?"
        rows = self._catalogue.reader.rows(query, (dataset, tag))
        return max([int(time.time() * 1_000_000), *(int(row.at) + 1 for row in rows if row.at is not None)])

    def _write(self, query: str, values: tuple[Any, ...], what: str) -> int:
        prepared = self._cassandra.prepare(query)

        def make(level: int) -> Any:
            bound = prepared.bind(values)
            bound.consistency_level = level
            return bound

        outcome: Outcome = self._writes.write(Write(make, 200, what))
        return outcome.replicas
