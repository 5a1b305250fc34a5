"""A lease is stored before a reader gets a row and deleted when the reader is done, whatever the order of events."""

from __future__ import annotations

import concurrent.futures.thread
import subprocess
import sys
import threading
from typing import Any

import pytest

from millrace.api import Store
from millrace.errors import StoreError
from millrace.store.catalogue.lease import Lease
from millrace.store.deletion.all_replicas import AllReplicas
from tests.unit.store.fakes import FakeCassandra
from tests.waiting import until


def held_up(monkeypatch: pytest.MonkeyPatch, kind: str) -> threading.Event:
    """Make statements of this kind wait until the returned event is set."""
    may_run = threading.Event()
    run = Lease._run

    def slow(lease: Lease, query: str, values: tuple[Any, ...]) -> None:
        assert not query.strip().startswith(kind) or may_run.wait(10)
        run(lease, query, values)

    monkeypatch.setattr(Lease, "_run", slow)
    return may_run


def test_the_lease_is_stored_before_the_first_rows_are_returned(
    store: Store, cassandra: FakeCassandra, csv: Any
) -> None:
    store.load("flights", csv(100))
    batches = store.dataset("flights").to_batches()
    assert not cassandra.table("leases")
    next(batches)
    assert len(cassandra.table("leases")) == 1
    assert list(batches) == []
    cassandra.drain()
    assert not cassandra.table("leases")


def test_a_lease_still_being_written_on_exit_is_not_left_behind(
    store: Store, cassandra: FakeCassandra, csv: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.load("flights", csv(1))
    may_write = held_up(monkeypatch, "INSERT")
    with Lease(store.cassandra, store.version("flights")) as lease:
        threading.Timer(0.05, may_write.set).start()
    cassandra.drain()
    assert lease._taken.is_set()
    assert not cassandra.table("leases")


def test_a_lease_is_renewed_until_its_reader_is_done(store: Store, cassandra: FakeCassandra, csv: Any) -> None:
    store.load("flights", csv(1))
    with Lease(store.cassandra, store.version("flights"), renew_s=0.01):
        until(lambda: sum("INSERT INTO ks.leases" in query for query, _, _ in cassandra.reads) > 2, "a renewal")
        assert len(cassandra.table("leases")) == 1
    cassandra.drain()
    assert not cassandra.table("leases")


def test_a_lease_that_cannot_be_written_fails_no_read(
    store: Store, cassandra: FakeCassandra, csv: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.load("flights", csv(100))
    prepare = cassandra.prepare

    def refuse_leases(query: str) -> Any:
        if "leases" in query:
            raise StoreError("the table leases cannot be used")
        return prepare(query)

    monkeypatch.setattr(cassandra, "prepare", refuse_leases)
    assert store.dataset("flights").to_table().num_rows == 100
    cassandra.drain()
    assert not cassandra.table("leases")


def test_a_reader_does_not_wait_for_the_release_of_its_lease_but_a_sweep_does(
    store: Store, cassandra: FakeCassandra, csv: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.load("flights", csv(100))
    may_delete = held_up(monkeypatch, "DELETE")
    assert store.dataset("flights").to_table().num_rows == 100
    assert len(cassandra.table("leases")) == 1
    assert len(cassandra._background) == 1
    threading.Timer(0.05, may_delete.set).start()
    assert AllReplicas(cassandra).protected_versions("flights") == set()
    assert not cassandra._background


def test_a_process_that_ends_without_closing_the_store_still_releases_its_lease() -> None:
    program = """
import threading
from types import SimpleNamespace
from millrace.settings import CassandraSettings
from millrace.store.cluster.node_monitor import NodeMonitor
from millrace.store.cluster.session import CassandraSession
session = CassandraSession(None, SimpleNamespace(), CassandraSettings(), NodeMonitor())
main = threading.main_thread()
giving_back = threading.Thread(target=lambda: (main.join(), print("given back")), daemon=True)
giving_back.start()
session.track_background(giving_back)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "given back\n"


def test_a_reader_closed_by_the_garbage_collector_waits_for_no_lock_that_its_thread_may_hold(
    store: Store, cassandra: FakeCassandra, csv: Any
) -> None:
    store.load("flights", csv(100))
    batches = store.dataset("flights").to_batches()
    next(batches)
    # A collection may run inside any pool's submit(), which holds these locks while it allocates.
    with concurrent.futures.thread._global_shutdown_lock, threading._active_limbo_lock:  # type: ignore[attr-defined]
        batches.close()  # type: ignore[attr-defined]
    cassandra.drain()
    assert not cassandra.table("leases")


def test_threads_that_have_ended_are_not_kept(cassandra: FakeCassandra) -> None:
    for _ in range(20):
        one = threading.Thread(target=lambda: None)
        one.start()
        one.join()
        cassandra.track_background(one)
    assert len(cassandra._background) == 1


def test_a_read_succeeds_although_its_lease_cannot_be_written(
    store: Store, csv: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.load("flights", csv(100))

    def fails(lease: Lease) -> None:
        raise RuntimeError("no room for another thread's trouble")

    monkeypatch.setattr(Lease, "_write", fails)
    monkeypatch.setattr(threading, "excepthook", lambda args: None)
    assert store.dataset("flights").to_table().num_rows == 100
