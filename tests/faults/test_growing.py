"""A cluster grows from two nodes to four under loads and a reader: nothing fails, and all four hold chunks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from local_stack.nodetool import nodetool
from local_stack.settings import load_stack_settings
from local_stack.stack import Stack
from millrace.api import Store
from millrace.load import LoadOptions
from millrace.settings import Settings, load_settings
from millrace.store.catalogue.manifest import ChunkRef
from tests.faults.conftest import wait_for
from tests.faults.gates import Gates
from tests.faults.loads import Busy

OFFSET = 50
"""Offset from the ports of the session's stack, which keeps its two nodes."""
SMALL_CHUNKS = LoadOptions(chunk_bytes=1_000_000)
ROWS = 400_000
"""16 MB of incompressible data: four buckets of the smallest size."""


@pytest.fixture
def grown(tmp_path: Path) -> Iterator[Stack]:
    """Start two nodes for this test alone, small enough that four fit."""
    settings = load_stack_settings()
    own = {"home": tmp_path / "home", "port_offset": settings.port_offset + OFFSET, "cassandra_heap_mb": 512}
    stack = Stack(settings.model_copy(update=own), say=lambda line: None)
    stack.up(["cassandra"])
    yield stack
    stack.down()


@pytest.fixture
def small(grown: Stack) -> Settings:
    """Make a keyspace there with the smallest buckets, so that a few megabytes make many partitions."""
    made = load_settings(
        cassandra={
            "contact_points": ["127.0.0.1", "127.0.0.2"],
            "port": grown.settings.port("cassandra"),
            "keyspace": "growing",
            "request_timeout_s": 25.0,
        },
        load={"bucket_bytes": 5_000_000},
        redis={"url": ""},
        kafka={"bootstrap_servers": ""},
    )
    Store.init(made)
    return made


def holders(store: Store, ref: ChunkRef) -> set[str]:
    return {str(host.address) for host in store.chunk_reader.replicas(ref)}


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_two_nodes_join_under_a_load_and_a_reader_and_take_their_share(
    grown: Stack, small: Settings, parquet: Callable[..., tuple[str, pa.Table]], gates: Gates
) -> None:
    nodes = [grown.node(number).host for number in (1, 2, 3, 4)]
    source, table = parquet(ROWS)

    def load(store: Store, number: int) -> None:
        assert store.load(f"loaded_{number}", source, SMALL_CHUNKS).rows == ROWS

    def read(store: Store, _number: int) -> None:
        assert store.dataset("reading").to_table().equals(table)

    with Store.connect(small) as store:
        store.load("reading", source, SMALL_CHUNKS)
        with Busy(small, read, end_s=240) as reading, Busy(small, load, end_s=240) as loading:
            for node in ("cassandra-3", "cassandra-4"):
                grown.up([node])
                reading.goes_on()
                loading.goes_on()
        print(f"{reading.done} reads, {loading.done} loads while two nodes joined")
        wait_for("four nodes known", lambda: len(store.cassandra.hosts()) == 4)
        assert [row["state"] for row in grown.status() if row["service"].startswith("cassandra")] == ["running"] * 4
        status = nodetool(grown.node(3), ["status"], capture=True).stdout
        assert sum(line.startswith("UN") for line in status.splitlines()) == 4, status

        # Existing chunks have moved with their token ranges; new ones are on all four nodes.
        for name in ("reading", "loaded_0", f"loaded_{loading.done - 1}"):
            assert store.verify(name, each_replica=True).ok
        big, big_table = parquet(4_000_000, seed=3)
        report = store.load("spread", big, SMALL_CHUNKS)
        assert not report.degraded
        share = shares(store, "spread")
        print(f"chunks on each node: {share}")
        assert set(share) == set(nodes)
        assert min(share.values()) >= report.chunks * 2 / 4 * 0.25

        dead = "cassandra-4"
        grown.kill(dead)
        # A load that loses a node while writing also records the chunks written just before. Here the node is down from
        # the beginning.
        wait_for("the dead node down for the driver", store.cassandra.down)
        degraded = store.load("degraded", big, SMALL_CHUNKS)
        refs = list(store.dataset("degraded").refs())
        on_dead = {str(ref) for ref in refs if grown.node(4).host in holders(store, ref)}
        single = {place for place, replicas in gates.chunks["degraded"].items() if replicas < 2}
        under_replicated = sum(
            record.chunks for record in store.under_replicated(store.version("degraded")) if record.bucket >= 0
        )
        print(
            f"{len(single)} of {len(refs)} chunks on one node, {len(on_dead)} belong on the dead one, "
            f"{under_replicated} on record"
        )
        assert set(gates.chunks["degraded"]) == {str(ref) for ref in refs}
        assert single == on_dead
        assert 0 < under_replicated == len(on_dead) < len(refs)
        assert degraded.degraded
        for name in ("reading", "spread", "degraded"):
            expected: Any = table if name == "reading" else big_table
            assert store.dataset(name).to_table().equals(expected)

        grown.up([dead])
        wait_for("the dead node up for the driver", lambda: not store.cassandra.down())
        wait_for("repairing", lambda: store.repair().ok)
        assert store.verify("degraded", each_replica=True).ok


def shares(store: Store, name: str) -> Counter[str]:
    return Counter(host for ref in store.dataset(name).refs() for host in holders(store, ref))
