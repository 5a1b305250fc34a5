"""Emit an asset event for each loaded version, so that other DAGs can be scheduled by it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.sdk import Asset, AssetAlias

if TYPE_CHECKING:
    from millrace.load import LoadReport


DATASETS = AssetAlias(name="millrace/datasets", group="millrace")
"""The alias of every dataset that a run may load. The dataset is known only at run time."""


def dataset_asset(name: str, *, cluster: str, keyspace: str) -> Asset:
    """Return ``Asset(name="dataset/<name>", uri="x-cassandra://<cluster>/<keyspace>/<name>")``."""
    return Asset(
        name=f"dataset/{name}", uri=f"x-cassandra://{quote(cluster, safe='')}/{keyspace}/{name}", group="millrace"
    )


def emit_loaded(outlet_events: Any, report: LoadReport, *, cluster: str, keyspace: str) -> None:
    """Record one event about the loaded version: version, run, mode, rows, sizes in bytes, chunks, replicas."""
    asset = dataset_asset(report.dataset, cluster=cluster, keyspace=keyspace)
    names = ("version", "run", "mode", "rows", "total_rows", "raw_bytes", "stored_bytes", "chunks", "replicas")
    outlet_events[DATASETS].add(asset, extra={name: getattr(report, name) for name in names})
