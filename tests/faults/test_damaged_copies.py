"""Faults in which the replica on one node differs from the written data."""

from __future__ import annotations

from typing import Any

import pytest

from local_stack.stack import Stack
from millrace.api import Store
from millrace.load import LoadOptions
from millrace.store.catalogue.manifest import ChunkRef
from tests.faults.checker import Expected
from tests.faults.conftest import Judge, at

SMALL = LoadOptions(chunk_bytes=65_536)
TILE = 1
PLACE = "dataset = ? AND attempt_id = ? AND bucket = ? AND chunk = ? AND tile = ?"
PUT = (
    "INSERT INTO {ks}.chunks (dataset, attempt_id, bucket, chunk, tile, data) VALUES (?, ?, ?, ?, ?, ?) "
    "USING TIMESTAMP ?"
)
DAMAGES = ("flipped", "of another place", "cut", "of another place and length")


def place(ref: ChunkRef) -> tuple[Any, ...]:
    return ref.dataset, ref.attempt_id, ref.bucket, ref.chunk, TILE


def copy_on(store: Store, host: Any, ref: ChunkRef) -> tuple[bytes, int]:
    """Return bytes and write time of the replica on this node."""
    (row,) = at(store, host, f"SELECT data, WRITETIME(data) AS at FROM {{ks}}.chunks WHERE {PLACE}", *place(ref))
    return bytes(row.data), row.at


def damage(store: Store, refs: list[ChunkRef], *, newer: bool, first_asked: bool) -> dict[ChunkRef, Any]:
    """Damage one replica of each chunk in a different way; return the damaged node by chunk.

    ``newer``: the damaged replica is written later than the good one, otherwise earlier.
    ``first_asked``: the damage is on the node that a reader asks first, which the chunk's number decides.
    """
    where = {}
    for ref, kind in zip(refs, DAMAGES, strict=False):
        hosts = store.chunk_reader.replicas(ref)
        first = hosts[ref.chunk % len(hosts)]
        (second,) = (host for host in hosts if host != first)
        bad_host, good_host = (first, second) if first_asked else (second, first)
        data, written = copy_on(store, good_host, ref)
        bad = {
            "flipped": data[:50] + bytes([data[50] ^ 1]) + data[51:],
            "of another place": copy_on(store, good_host, refs[-1])[0],
            "cut": data[:-1],
            "of another place and length": copy_on(store, good_host, refs[-2])[0] + b"\0",
        }[kind]
        at(store, bad_host, PUT, *place(ref), bad, written + 1)
        if not newer:
            at(store, good_host, PUT, *place(ref), data, written + 2)
        assert copy_on(store, bad_host, ref)[0] == bad
        assert copy_on(store, good_host, ref)[0] == data
        where[ref] = bad_host
    return where


@pytest.mark.parametrize("newer", [True, False], ids=["the newer copy", "the older copy"])
def test_a_damaged_replica_is_reported_and_a_read_skips_and_replaces_it(
    both_up: Stack,
    store: Store,
    parquet: Any,
    name: str,
    judge: Judge,
    monkeypatch: pytest.MonkeyPatch,
    newer: bool,
) -> None:
    """A flipped byte, valid tiles of other places and a truncated tile are never returned and never copied."""
    source, table = parquet(15_000)
    report = store.load(name, source, SMALL)
    refs = list(store.dataset(name).refs())
    # Load on the machine must not change which node is asked first.
    monkeypatch.setattr(store.cassandra.monitor, "is_unresponsive", lambda _host: False)
    where = damage(store, refs, newer=newer, first_asked=True)
    findings = store.verify(name, each_replica=True)
    named = {(problem["chunk"], problem["node"]) for problem in findings.problems}
    assert named == {(str(ref.chunk), str(host.address)) for ref, host in where.items()}
    assert {problem["error"] for problem in findings.problems} == {"ChecksumMismatchError"}
    for fact in ("dataset", "attempt_id", "tile", "expected", "actual"):
        assert all(problem[fact] for problem in findings.problems)
    assert store.dataset(name).to_table().equals(table)
    # The read met every damaged replica and overwrote it with the good one.
    assert store.verify(name, each_replica=True).ok
    judge({name: Expected({report.version: table}, latest=report.version)}, fired=len(where) == len(DAMAGES))


@pytest.mark.parametrize("newer", [True, False], ids=["the newer copy", "the older copy"])
def test_a_damaged_replica_that_no_read_reaches_is_found_by_verify_and_replaced_by_repair(
    both_up: Stack, store: Store, parquet: Any, name: str, judge: Judge, newer: bool
) -> None:
    source, table = parquet(15_000)
    report = store.load(name, source, SMALL)
    refs = list(store.dataset(name).refs())
    where = damage(store, refs, newer=newer, first_asked=False)
    # No rule fixes which node a reader asks first, so this test does not read: the damage stays until verify.
    findings = store.verify(name, each_replica=True)
    assert findings.bad_copies == len(where)
    assert store.under_replicated(store.version(name)), "what was found is on record"
    repaired = store.repair(name)
    assert repaired.ok
    assert repaired.copies == len(where)
    assert store.verify(name, each_replica=True).ok
    assert not store.under_replicated(store.version(name))
    column = table.column_names[TILE]
    assert store.dataset(name).to_table(columns=[column]).equals(table.select([column]))
    judge({name: Expected({report.version: table}, latest=report.version)}, fired=findings.bad_copies == len(DAMAGES))
