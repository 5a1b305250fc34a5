"""Record the last writes of a load as under-replicated if a node was lost while its version was published."""

from __future__ import annotations

from collections.abc import Set
from typing import Final
from uuid import UUID

from millrace.store import Catalogue, CatalogueWriter, MetadataBucket, ReplicatedWriter, Version

_LAST_BUCKETS: Final = 2
"""Buckets of an attempt that may have been written within the last seconds: 64 MB each."""


def record_last_writes(
    catalogue: Catalogue,
    catalogue_writer: CatalogueWriter,
    writes: ReplicatedWriter,
    version: Version,
    written: Set[UUID],
) -> bool:
    """Record the last writes of the attempts ``written`` and of the publisher if a node was lost; return whether.

    The node may lack the rows that it acknowledged last.
    """
    # ``replica_loss_times`` lacks a node that was down before the load began. ``stats.degraded`` counts the writes that
    # it missed.
    if not (writes.replica_loss_times or writes.stats.degraded):
        return False
    buckets = {row.attempt_id: row.buckets for row in catalogue.attempts(version.dataset)}
    for attempt_id in (version.attempt_id, *written):  # the publisher's attempt has no bucket of chunks
        last = buckets.get(attempt_id, 0)
        for bucket in (MetadataBucket.CATALOGUE, MetadataBucket.PAGES, *range(max(0, last - _LAST_BUCKETS), last)):
            catalogue_writer.record_under_replicated(version.dataset, attempt_id, bucket, 0)
    return True
