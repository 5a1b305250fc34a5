"""Emit an asset event for each loaded version, so that other DAGs can be scheduled by it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from airflow.sdk import Asset, AssetAlias

if TYPE_CHECKING:
    from millrace.api import Store
    from millrace.load import LoadReport
    from millrace.training import ModelReport

_FIELDS: Final = (
    "version", "run", "mode", "rows", "total_rows", "raw_bytes", "stored_bytes", "chunks", "replicas",
    "rejected", "discarded_rows", "discarded_values", "rejects", "schema_changes",
)  # fmt: skip
_MODEL_FIELDS: Final = ("version", "run", "data", "function", "seed", "metrics", "best")

DATASETS = AssetAlias(name="millrace/datasets", group="millrace")
"""The alias of every dataset that a run may load. The dataset is known only at run time."""


def dataset_asset(name: str, *, cluster: str, keyspace: str) -> Asset:
    """Return ``Asset(name="dataset/<name>", uri="x-cassandra://<cluster>/<keyspace>/<name>")``."""
    return Asset(
        name=f"dataset/{name}", uri=f"x-cassandra://{quote(cluster, safe='')}/{keyspace}/{name}", group="millrace"
    )


def emit_loaded(outlet_events: Any, report: LoadReport, *, checksum: str, cluster: str, keyspace: str) -> None:
    """Record one event about the loaded version: ``_FIELDS`` of its report, and the checksum of its row, as hex."""
    facts = json.loads(json.dumps(report.to_json()))
    extra = {**{name: facts[name] for name in _FIELDS}, "checksum": checksum}
    outlet_events[DATASETS].add(dataset_asset(report.dataset, cluster=cluster, keyspace=keyspace), extra=extra)


def emit_version(outlet_events: Any, report: LoadReport, store: Store) -> None:
    """Record one event about a version that was loaded or prepared in this store."""
    emit_loaded(outlet_events, report, **_place(store, report.reference))


def emit_trained(outlet_events: Any, report: ModelReport, store: Store) -> None:
    """Record one event about a trained model: ``_MODEL_FIELDS`` of its report, and the checksum of its row, as hex."""
    place = _place(store, report.reference)
    facts = json.loads(json.dumps(report.to_json()))
    extra = {**{name: facts[name] for name in _MODEL_FIELDS}, "checksum": place.pop("checksum")}
    outlet_events[DATASETS].add(dataset_asset(report.dataset, **place), extra=extra)


def _place(store: Store, reference: str) -> dict[str, str]:
    return {
        "checksum": store.version(reference).checksum.hex(),
        "cluster": store.cassandra.cluster_name,
        "keyspace": store.settings.cassandra.keyspace,
    }
