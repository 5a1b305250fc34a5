"""Faults in which the missing replicas of one node are repaired before the other node dies, or are not."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pytest

from local_stack.stack import Stack
from millrace.api import Store
from millrace.errors import ChunkMissingError, MillraceError, StoreUnavailableError
from millrace.settings import Settings
from millrace.store.catalogue.manifest import ChunkRef
from tests.faults.checker import BOTH, Expected
from tests.faults.conftest import Judge, at, stored_on, wait_for
from tests.faults.gates import Gates
from tests.faults.loads import APPEND, CHUNKS, ROWS, SMALL, down_for, impatient, load, repaired, without_hints

PATIENCE_S = 5.0


def host_of(store: Store, address: str) -> Any:
    (host,) = [host for host in store.cassandra.hosts() if str(host.address) == address]
    return host


def lacked_by(store: Store, host: Any, refs: list[ChunkRef]) -> list[ChunkRef]:
    """Return the chunks of which this node has no tile."""
    query = "SELECT tile FROM {ks}.chunks WHERE dataset = ? AND attempt_id = ? AND bucket = ? AND chunk = ?"
    return [ref for ref in refs if not at(store, host, query, ref.dataset, ref.attempt_id, ref.bucket, ref.chunk)]


@pytest.mark.timeout(900)
def test_the_other_node_dying_before_the_repair_raises_specific_errors_and_loses_nothing(
    both_up: Stack, settings: Settings, parquet: Any, name: str, judge: Judge, tell: Callable[[str], None]
) -> None:
    """Node 2 comes back without the rows written while it was down, and node 1, which has them, dies."""
    source, table = parquet(ROWS)
    more, more_table = parquet(4_000, seed=3)
    first_address, second_address = settings.cassandra.contact_points
    old, new = f"{name}_old", f"{name}_new"
    first = load(settings, old, source)
    with without_hints(both_up):
        both_up.kill("cassandra-2")
        wait_for("node 1 to see node 2 down", lambda: down_for(both_up, 1))
        second = load(settings, old, more, APPEND, run="second")
        created = load(settings, new, source)
        both = pa.concat_tables([table, more_table]).combine_chunks()
        expected = {
            old: Expected({first.version: table, second.version: both}, latest=second.version),
            new: Expected({created.version: table}, latest=created.version),
        }
        both_up.up(["cassandra"])
        hasty = impatient(settings, PATIENCE_S)
        with Store.connect(hasty) as store, Store.connect(hasty) as knowing:
            wait_for("node 2 up for the driver", lambda: not (store.cassandra.missing() or knowing.cassandra.missing()))
            assert store.under_replicated(store.version(new))
            host = host_of(store, second_address)
            query = "SELECT number FROM {ks}.versions WHERE dataset = ?"
            fired = [len(at(store, host, query, each)) for each in (old, new)] == [1, 0]
            opened = {each: store.dataset(each) for each in (old, new)}
            # Pages never change: a reader that has one does not query it again, and so reaches the chunks.
            known = {each: knowing.dataset(each) for each in (old, new)}
            lacking = {
                each: lacked_by(store, host, [ref for page in dataset.known_pages() for ref in page.refs()])
                for each, dataset in known.items()
            }
            assert len(lacking[new]) == CHUNKS
            assert len(lacking[old]) == second.chunks
            both_up.kill("cassandra-1")
            slowest_s = 0.0

            def ends_in(kinds: tuple[type[MillraceError], ...], read: Callable[[], Any]) -> MillraceError:
                nonlocal slowest_s
                began = time.monotonic()
                with pytest.raises(kinds) as caught:
                    read()
                took_s = time.monotonic() - began
                slowest_s = max(slowest_s, took_s)
                assert took_s < 3 * PATIENCE_S
                assert type(caught.value).retriable
                assert first_address in str(caught.value) or first_address in str(caught.value.context), (
                    caught.value.context
                )
                return caught.value

            wait_for("node 1 down for the driver", lambda: store.cassandra.down() and knowing.cassandra.down())
            # Not found on the remaining node does not prove that the dataset does not exist.
            ends_in((StoreUnavailableError,), lambda: store.dataset(new))
            ends_in((StoreUnavailableError,), lambda: store.versions(new))
            ends_in((StoreUnavailableError,), lambda: store.dataset(f"{old}@{second.version}"))
            # An older version is read, marked as degraded because a newer one may exist.
            old_dataset = store.dataset(old)
            assert old_dataset.version.label == first.version
            assert old_dataset.degraded
            assert old_dataset.to_table().equals(table)
            # Readers that have the version row get an error that names the page and the node.
            for dataset in opened.values():
                error = ends_in((ChunkMissingError, StoreUnavailableError), dataset.to_table)
                assert "page" in str(error)
            # Readers that also have its pages get an error that names the missing chunk and the node that may have it.
            for each, dataset in known.items():
                error = ends_in((ChunkMissingError,), dataset.to_table)
                assert f"chunk {lacking[each][0]} is not on {second_address}" in str(error)
                assert f"{first_address} did not answer and may have a good copy" in str(error)
                assert error.context["unreachable"] == [first_address]
            tell(f"the slowest error after {slowest_s:.1f} s")
    judge(expected, fired=fired, ways=[BOTH, first_address])
    with Store.connect(settings) as store:
        repaired(store)
        assert not store.under_replicated(store.version(new))
    judge(expected, fired=fired)


@pytest.mark.timeout(600)
def test_a_load_writes_missing_replicas_to_a_node_that_comes_back_before_it_publishes(
    both_up: Stack, store: Store, settings: Settings, parquet: Any, name: str, gates: Gates, judge: Judge
) -> None:
    """Without hints and without a call of repair, only the load itself can write the missing replicas of node 2."""
    source, table = parquet(ROWS)
    two = settings.cassandra.contact_points[1]
    leaves, returns = gates.gate(name, "chunk", 10), gates.gate(name, "chunk", 16)
    with without_hints(both_up), ThreadPoolExecutor(1) as pool, Store.connect(settings) as loader:
        loading = pool.submit(loader.load, name, source, SMALL)
        leaves.wait()
        both_up.kill("cassandra-2")
        wait_for("node 1 to see node 2 down", lambda: down_for(both_up, 1))
        leaves.open()
        returns.wait()
        wait_for("15 chunks acknowledged", lambda: len(gates.chunks[name]) == 15)
        both_up.up(["cassandra"])
        wait_for("the nodes to see each other", lambda: not (down_for(both_up, 1) or down_for(both_up, 2)))
        wait_for("node 2 up for the loader", lambda: not loader.cassandra.missing())
        wait_for("node 2 up for the driver", lambda: not store.cassandra.missing())
        (writer,) = store.catalogue.attempts(name)
        before = {chunk for _, chunk, _ in stored_on(store, host_of(store, two), writer)}
        fired = gates.single(name) >= 6 and before <= set(range(9))
        returns.open()
        report = loading.result(120)
        assert not report.degraded
        assert report.under_replicated == 0
        assert store.under_replicated_of(name) == []
        after = {chunk for _, chunk, _ in stored_on(store, host_of(store, two), writer)}
        assert after == set(range(CHUNKS))
    judge({name: Expected({report.version: table}, latest=report.version)}, fired=fired)
    assert store.verify(name, each_replica=True).ok
