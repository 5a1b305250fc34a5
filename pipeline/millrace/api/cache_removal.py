"""Remove deleted versions from Redis."""

from __future__ import annotations

from collections.abc import Iterable

from millrace.api.connection import StoreConnection


def remove_deleted(store: StoreConnection, datasets: Iterable[str], *, unlisted: bool = False) -> str:
    """Remove from Redis the versions of these datasets that are not visible; with ``unlisted`` also lost values.

    Lost values are those that no cached version has.
    Returns why that failed, else an empty text. Datasets whose versions were read while a node was down are left out,
    because that node may have a newer version.
    """
    if store.cache is None:
        return ""
    for dataset in datasets:
        versions = store.catalogue.all_versions(dataset)
        labels = {version.label for version in versions if version.deleted_at is None}
        if not versions.degraded and not store.cache.remove_deleted(dataset, labels, unlisted=unlisted):
            return f"the cache at {store.cache.address} does not respond"
    return ""
