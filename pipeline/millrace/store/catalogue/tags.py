"""Tags: movable names of versions. They are the only rows that are overwritten on purpose, and are never deleted."""

from __future__ import annotations

from typing import Any

from millrace.errors import VersionNotFoundError
from millrace.names import check_tag
from millrace.store.catalogue.catalogue import Catalogue
from millrace.store.catalogue.version import Version
from millrace.store.cluster.session import CassandraSession
from millrace.store.cluster.write_times import later_than
from millrace.store.cluster.writer import Outcome, ReplicatedWriter, Write

__all__ = ["Tags"]

_SET = "INSERT INTO {ks}.tags (dataset, tag, number, hex, removed) VALUES (?, ?, ?, ?, ?) USING TIMESTAMP ?"


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
        check_tag(tag)
        previous = self._target(version.dataset, tag)
        proven = self._write(version.dataset, tag, (version.number, version.hex))
        # A deletion checks for tags before it marks a version, and once more before it removes data.
        if all(other.hex != version.hex for other in self._catalogue.numbered(version.dataset, version.number)):
            target = previous or (version.number, version.hex)
            self._write(version.dataset, tag, target, removed=previous is None)
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
        target = self._target(dataset, tag)
        if target is None:
            raise VersionNotFoundError(
                f"{dataset} has no tag {tag!r}", hint=f"millrace versions {dataset} shows its tags", dataset=dataset
            )
        # Not a tombstone, because its write time cannot be read: it would hide a tag that is set later by a machine
        # with a clock that is behind.
        return self._write(dataset, tag, target, removed=True)

    def _target(self, dataset: str, tag: str) -> tuple[int, str] | None:
        """Return number and hex of the tagged version, or None where there is no such tag."""
        return next(((number, hexpart) for name, number, hexpart in self._catalogue.tags(dataset) if name == tag), None)

    def _write(self, dataset: str, tag: str, target: tuple[int, str], *, removed: bool = False) -> int:
        """Write every column with one write time, which is later than that of the tag's row."""
        query = "SELECT WRITETIME(number) AS at FROM {ks}.tags WHERE dataset = ? AND tag = ?"
        written = later_than([row.at for row in self._catalogue.reader.rows(query, (dataset, tag))])
        prepared = self._cassandra.prepare(_SET)
        values = (dataset, tag, *target, removed, written)

        def make(level: int) -> Any:
            bound = prepared.bind(values)
            bound.consistency_level = level
            return bound

        outcome: Outcome = self._writes.write(Write(make, 200, f"the tag {dataset}@{tag}"))
        return outcome.replicas
