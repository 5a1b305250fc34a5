"""The configured driver on the real nodes."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash
from cassandra.pool import HostConnection

from millrace.api import Store
from millrace.chunks import ChunkSettings, TileLayout, encode_row_group
from millrace.compat.cassandra.connection import StockConnection
from millrace.compat.cassandra.large_frames import NODE_LOCAL, LargeRows
from millrace.compat.versions import CASSANDRA_DRIVER, stock_behaviour
from millrace.errors import StoreSchemaError
from millrace.settings import Settings
from millrace.store.catalogue.attempt import AttemptRole, LoadAttempt
from millrace.store.chunks.chunk_writer import ChunkWriter
from millrace.store.cluster.schema import TABLES
from millrace.store.cluster.session import CassandraSession
from millrace.store.cluster.writer import ReplicatedWriter


def test_the_driver_has_the_measured_configuration(store: Store) -> None:
    cluster = store.cassandra.cluster
    connection: Any = next(iter(store.cassandra.session._pools.values()))._connection
    assert cluster.protocol_version == 4
    assert connection.in_buffer_size == connection.out_buffer_size == 64 * 1024
    assert connection.compressor is None
    assert any("Libev" in base.__name__ for base in type(connection).__mro__)


def test_a_session_is_connected_to_every_node_even_when_one_connects_late(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = settings.cassandra.contact_points[0]

    class Slow(HostConnection):  # type: ignore[misc]
        def __init__(self, host: Any, *arguments: Any) -> None:
            if str(host.address) == first:
                time.sleep(0.5)
            super().__init__(host, *arguments)

    monkeypatch.setattr("cassandra.cluster.HostConnection", Slow)
    cassandra = CassandraSession.connect(settings.cassandra)
    try:
        for session in (cassandra.session, cassandra.probes):
            assert {str(host.address) for host in session._pools} == set(settings.cassandra.contact_points)
    finally:
        cassandra.close()


def test_concurrent_chunk_writers_neither_retry_nor_leak_a_request(settings: Settings) -> None:
    """Three write windows share one connection for each node; afterwards every stream id is free again."""
    values = np.random.default_rng(1).integers(-(2**62), 2**62, (3, 200_000))
    batch = pa.RecordBatch.from_arrays([pa.array(column) for column in values], names=["a", "b", "c"])
    (chunk,) = encode_row_group(batch, ChunkSettings(row_group_bytes=1), TileLayout.for_schema(batch.schema))
    with Store.connect(settings) as store:
        writers = [ReplicatedWriter(store.cassandra, window_bytes=20_000_000) for _ in range(3)]
        rows = [
            LoadAttempt("flood", uuid4(), "flood", "f", AttemptRole.SPLIT, 1, "1-abcdef", "here", datetime.now(UTC))
            for _ in writers
        ]
        loads = [
            ChunkWriter(store.cassandra, writes, row, bucket_bytes=64_000_000)
            for writes, row in zip(writers, rows, strict=True)
        ]
        for _ in range(6):
            for load in loads:
                load.write(chunk)
                store.catalogue.names()
        reports = [load.finish() for load in loads]
        stats = [writes.stats for writes in writers]
        for writes in writers:
            writes.close()
        assert [report.chunks for report in reports] == [6, 6, 6]
        assert [(s.degraded, s.retries) for s in stats] == [(0, 0)] * 3
        for pool in store.cassandra.session._pools.values():
            connection = pool._connection
            assert len(connection.request_ids) == connection.highest_request_id + 1 - len(connection._requests)


def test_a_chunk_is_received_in_place_and_its_tiles_outlive_the_next_response(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    rows = LargeRows._rows

    def counted(version: int, types: Any, body: memoryview, metadata: Any) -> Any:
        message = rows(version, types, body, metadata)
        made.append(len(message.parsed_rows))
        return message

    values = np.random.default_rng(7).integers(-(2**62), 2**62, (3, 400_000))
    table = pa.table(list(values), names=["a", "b", "c"])
    pq.write_table(table, tmp_path / "wide.parquet")
    with Store.connect(settings) as store:
        store.load("in_place", str(tmp_path / "wide.parquet"))
        monkeypatch.setattr(LargeRows, "_rows", counted)
        dataset = store.dataset("in_place")
        refs = list(dataset.refs())
        fetched = [store.chunk_reader.fetch(ref) for ref in refs]
        assert len(refs) > 1
        assert made == [len(ref.tiles) for ref in refs]
        for ref, tiles in zip(refs, fetched, strict=True):
            assert [xxhash.xxh3_128_digest(tile) for tile in tiles] == [tile.stored_checksum for tile in ref.tiles]
        assert dataset.to_table().equals(table)


def test_outside_the_tested_versions_of_the_driver_a_load_a_read_and_a_filter_return_the_same_rows(
    settings: Settings, tmp_path: Path
) -> None:
    values = np.random.default_rng(8).integers(-(2**62), 2**62, (3, 400_000))
    table = pa.table([*values, np.arange(400_000)], names=["a", "b", "c", "n"])
    pq.write_table(table, tmp_path / "wide.parquet")
    with stock_behaviour(CASSANDRA_DRIVER), Store.connect(settings) as store:
        for session in (store.cassandra.session, store.cassandra.probes):
            assert {str(host.address) for host in session._pools} == set(settings.cassandra.contact_points)
        connection: Any = next(iter(store.cassandra.session._pools.values()))._connection
        assert isinstance(connection, StockConnection)
        store.load("stock_driver", str(tmp_path / "wide.parquet"))
        stock = store.dataset("stock_driver")
        assert stock.to_table().equals(table)
        assert stock.to_table(filter="n >= 399990").equals(table.slice(399_990))
    with Store.connect(settings) as store:
        assert store.dataset("stock_driver").to_table().equals(table)


def test_each_node_returns_its_own_data_at_node_local(store: Store, settings: Settings) -> None:
    one, other = store.cassandra.hosts()
    assert [str(one.address), str(other.address)] == list(settings.cassandra.contact_points)
    lease = uuid4()
    dataset = f"node_local_{lease.hex}"
    insert = "INSERT INTO {ks}.leases (dataset, lease, holder) VALUES (?, ?, ?) USING TTL ?"
    written = store.cassandra.prepare(insert).bind((dataset, lease, "a test", 60))
    read = store.cassandra.prepare("SELECT lease FROM {ks}.leases WHERE dataset = ?").bind((dataset,))
    written.consistency_level = read.consistency_level = NODE_LOCAL
    store.cassandra.execute(written, host=one)
    assert [row.lease for row in store.cassandra.execute(read, host=one)] == [lease]
    assert store.cassandra.execute(read, host=other) == []


def test_a_missing_keyspace_is_a_clear_error(settings: Settings) -> None:
    missing = settings.model_copy(update={"cassandra": settings.cassandra.model_copy(update={"keyspace": "nothing"})})
    with pytest.raises(StoreSchemaError, match="keyspace 'nothing' does not exist: run: millrace init"):
        Store.connect(missing)


def test_init_can_be_repeated_and_leaves_every_table_as_it_is(store: Store, settings: Settings) -> None:
    query = "SELECT table_name, id FROM system_schema.tables WHERE keyspace_name = %s"

    def table_ids() -> dict[str, UUID]:
        rows = store.cassandra.session.execute(query, (settings.cassandra.keyspace,))
        return {row.table_name: row.id for row in rows}

    before = table_ids()
    assert before.keys() == TABLES.keys()
    Store.init(settings)
    assert table_ids() == before
