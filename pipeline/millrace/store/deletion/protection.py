"""Tags and leases, which protect versions from deletion."""

from __future__ import annotations

from millrace.errors import UsageError
from millrace.store.catalogue.version import Version
from millrace.store.deletion.all_replicas import AllReplicas


class Protection:
    """Look-up of tagged and leased versions at ``ALL``."""

    def __init__(self, replicas: AllReplicas) -> None:
        self._replicas = replicas

    def versions(self, dataset: str) -> set[tuple[int, str]]:
        """Return number and hex of every version that has a tag or a reader's lease."""
        return {(number, hexpart) for _, number, hexpart in self._replicas.tags(dataset)} | self._leased(dataset)

    def require_unprotected(self, version: Version) -> None:
        """Raise ``UsageError`` if the version has a tag or a lease."""
        key = (version.number, version.hex)
        tags = [tag for tag, number, hexpart in self._replicas.tags(version.dataset) if (number, hexpart) == key]
        if tags:
            raise UsageError(
                f"{version.reference} has the tag {', '.join(tags)}",
                hint=f"millrace untag {version.dataset} {tags[0]} first",
                dataset=version.dataset,
                version=version.label,
            )
        if key in self._leased(version.dataset):
            raise UsageError(
                f"{version.reference} is being read",
                hint="try again when its readers are done (their leases run out by themselves)",
                dataset=version.dataset,
                version=version.label,
            )

    def _leased(self, dataset: str) -> set[tuple[int, str]]:
        self._replicas.cassandra.drain()  # a reader of this process may be about to release its lease
        rows = self._replicas.rows("SELECT number, hex FROM {ks}.leases WHERE dataset = ?", (dataset,))
        return {(row.number, row.hex) for row in rows}
