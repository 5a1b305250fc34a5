"""Errors for datasets and versions that the catalogue does not have."""

from __future__ import annotations

from millrace.errors import DatasetNotFoundError, StoreError, StoreUnavailableError
from millrace.store.cluster.session import CassandraSession


def not_found(cassandra: CassandraSession, dataset: str, version: str = "", *, degraded: bool) -> StoreError:
    """Return the error for a name that a read did not find.

    After a degraded read this is ``StoreUnavailableError``, because the name may exist on the other node alone.
    """
    if not degraded:
        return dataset_not_found(dataset)
    down = ", ".join(cassandra.down()) or "one node"
    name = f"{dataset}@{version}" if version else f"a dataset {dataset!r}"
    return StoreUnavailableError(
        f"no node that responds has {name}, and {down} does not respond",
        hint="it may exist on that node alone; start the node (see millrace doctor) and try again",
        dataset=dataset,
        version=version or None,
        node=down,
    )


def dataset_not_found(dataset: str) -> DatasetNotFoundError:
    """Return the error for a dataset that no node has."""
    return DatasetNotFoundError(
        f"there is no dataset {dataset!r}", hint="millrace ls lists the datasets", dataset=dataset
    )
