"""A loaded version emits an event on the dataset's Asset, with the documented name and URI."""

from __future__ import annotations

import json

from airflow.sdk.execution_time.context import OutletEventAccessors

from millrace.airflow.assets import DATASETS, dataset_asset, emit_loaded
from millrace.load import LoadReport

REPORT = LoadReport(
    dataset="flights",
    version="12-3fa9c1",
    run="ingest_dataset/manual__1",
    mode="append",
    kind="table",
    parent="11-aaaaaa",
    rows=10,
    total_rows=30,
    raw_bytes=1000,
    stored_bytes=400,
    chunks=2,
    replicas=2,
    under_replicated=0,
    retries=0,
    splits=1,
    source="/data/flights.csv",
    rejected=3,
    rejects="flights__rejects@1-bbbbbb",
    schema_changes=("column c is new",),
)


def test_the_asset_has_the_documented_name_and_uri() -> None:
    asset = dataset_asset("flights", cluster="millrace", keyspace="lake")
    assert (asset.name, asset.uri) == ("dataset/flights", "x-cassandra://millrace/lake/flights")


def test_a_cluster_name_with_blanks_gives_a_valid_uri() -> None:
    assert dataset_asset("f", cluster="Test Cluster", keyspace="k").uri == "x-cassandra://Test%20Cluster/k/f"


def test_the_event_describes_the_loaded_version() -> None:
    events = OutletEventAccessors()
    emit_loaded(events, REPORT, checksum="0f", cluster="millrace", keyspace="lake")
    (event,) = events[DATASETS].asset_alias_events
    assert event.dest_asset_key.uri == "x-cassandra://millrace/lake/flights"
    assert event.extra == {
        "version": "12-3fa9c1",
        "run": "ingest_dataset/manual__1",
        "mode": "append",
        "rows": 10,
        "total_rows": 30,
        "raw_bytes": 1000,
        "stored_bytes": 400,
        "chunks": 2,
        "replicas": 2,
        "rejected": 3,
        "discarded_rows": 0,
        "discarded_values": 0,
        "rejects": "flights__rejects@1-bbbbbb",
        "schema_changes": ["column c is new"],
        "checksum": "0f",
    }
    json.dumps(event.extra)
