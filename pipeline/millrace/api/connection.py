"""Open and close the connections of a store, and look up versions by their names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from millrace.errors import StoreTimeoutError, StoreUnavailableError
from millrace.names import check_dataset_name, parse_reference
from millrace.settings import Settings
from millrace.store import (
    ALIVE,
    CassandraSession,
    Catalogue,
    ChunkReader,
    Version,
    check_schema,
    create_schema,
    not_found,
    recoverable_versions,
    translate_driver_errors,
)

if TYPE_CHECKING:
    from millrace.cache import ChunkCache

_SCHEMA_ROUNDS = 2


class StoreConnection:
    """The part of ``Store`` that the other parts share: settings, connections, and the look-up of versions."""

    def __init__(self, cassandra: CassandraSession, settings: Settings) -> None:
        self.settings = settings
        self.cassandra = cassandra
        self.catalogue = Catalogue(cassandra)
        self.chunk_reader = ChunkReader(cassandra)
        self.alive = ALIVE
        self._cache: ChunkCache | None = None

    @classmethod
    def connect(cls, settings: Settings) -> Self:
        """Connect and check keyspace, tables and replication factor.

        Raises ``StoreError`` with the reason if one of them is wrong.
        """
        cassandra = CassandraSession.connect(settings.cassandra)
        try:
            # Node by node: a node that shuts down refuses, and round robin could send it every second query.
            hosts: list[Any] = cassandra.hosts() * _SCHEMA_ROUNDS or [None]
            for number, host in enumerate(hosts, 1):
                try:
                    with translate_driver_errors(host):
                        check_schema(cassandra.session, settings.cassandra, host)
                    break
                except (StoreUnavailableError, StoreTimeoutError):
                    if number == len(hosts):
                        raise
        except BaseException:
            cassandra.close()
            raise
        return cls(cassandra, settings)

    @staticmethod
    def init(settings: Settings) -> int | None:
        """Create keyspace and tables, or upgrade those of the schema before. A repetition changes nothing.

        Every node must be up. Returns the number of the schema that was upgraded, else None.
        """
        cassandra = CassandraSession.connect(settings.cassandra)
        try:
            with translate_driver_errors():
                return create_schema(cassandra.session, settings.cassandra)
        finally:
            cassandra.close()

    def close(self) -> None:
        """Close the connections to Cassandra and Redis."""
        if self._cache is not None:
            self._cache.close()
        self.cassandra.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    @property
    def cache(self) -> ChunkCache | None:
        """The Redis cache, created on first use; None if it is switched off."""
        if self._cache is None and not self.settings.redis.switched_off:
            from millrace.cache import ChunkCache

            self._cache = ChunkCache(
                self.settings.redis,
                cluster=self.cassandra.cluster_name,
                keyspace=self.settings.cassandra.keyspace,
            )
        return self._cache

    def version(self, reference: str) -> Version:
        """Return the version that ``NAME[@VERSION]`` names."""
        return self.catalogue.resolve(*parse_reference(reference))

    def versions(self, name: str, *, deleted: bool = False) -> list[Version]:
        """Return the visible versions, newest first; raise ``DatasetNotFoundError`` if there are none.

        With ``deleted``, return the versions whose deletion ``undelete`` can undo; that list may be empty.
        """
        every = self.catalogue.all_versions(check_dataset_name(name))
        if deleted and every.items:
            return recoverable_versions(self.catalogue, every)
        visible = [version for version in every if version.deleted_at is None]
        if not visible:
            raise not_found(self.cassandra, name, degraded=every.degraded)
        return visible
