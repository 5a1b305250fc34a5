"""The rows of the fault table in which a copy in the table is not what was written, on one node."""

from __future__ import annotations

from typing import Any

import pytest

from local_stack.stack import Stack
from millrace.api import Store
from millrace.load import LoadOptions
from millrace.store.manifest import ChunkRef
from tests.faults.checker import Expected
from tests.faults.conftest import Judge, at

SMALL = LoadOptions(chunk_bytes=65_536)
TILE = 1
PLACE = "dataset = ? AND writer = ? AND bucket = ? AND chunk = ? AND tile = ?"
PUT = "INSERT INTO {ks}.chunks (dataset, writer, bucket, chunk, tile, data) VALUES (?, ?, ?, ?, ?, ?) USING TIMESTAMP ?"
DAMAGES = ("flipped", "of another place", "cut", "of another place and length")


def place(ref: ChunkRef) -> tuple[Any, ...]:
    return ref.dataset, ref.writer, ref.bucket, ref.chunk, TILE


def copy_on(store: Store, host: Any, ref: ChunkRef) -> tuple[bytes, int]:
    """Bytes and write time."""
    (row,) = at(store, host, f"SELECT data, WRITETIME(data) AS at FROM {{ks}}.chunks WHERE {PLACE}", *place(ref))
    return bytes(row.data), row.at


def damage(store: Store, refs: list[ChunkRef], *, newer: bool, first_asked: bool) -> dict[ChunkRef, Any]:
    """A different damage to each chunk, later or earlier than the good copy; the nodes on which it lies.

    ``first_asked``: on the node that a reader asks first, which the chunk's number decides.
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
def test_a_damaged_copy_is_named_read_around_and_replaced_by_the_good_one(
    both_up: Stack,
    store: Store,
    parquet: Any,
    name: str,
    judge: Judge,
    monkeypatch: pytest.MonkeyPatch,
    newer: bool,
) -> None:
    """A byte flipped, tiles swapped with valid ones of other places, a tile cut: never read, never spread."""
    source, table = parquet(15_000)
    report = store.load(name, source, SMALL)
    refs = list(store.dataset(name).refs())
    # A machine that is busy elsewhere must not change who is asked first.
    monkeypatch.setattr(store.cassandra, "is_silent", lambda _host: False)
    where = damage(store, refs, newer=newer, first_asked=True)
    found = store.verify(name, each_replica=True)
    named = {(problem["chunk"], problem["node"]) for problem in found.problems}
    assert named == {(str(ref.chunk), str(host.address)) for ref, host in where.items()}
    assert {problem["error"] for problem in found.problems} == {"ChecksumMismatchError"}
    for fact in ("dataset", "writer", "tile", "expected", "actual"):
        assert all(problem[fact] for problem in found.problems)
    assert store.dataset(name).to_table().equals(table)
    # The read met every bad copy and wrote the good one over it.
    assert store.verify(name, each_replica=True).ok
    judge({name: Expected({report.version: table}, latest=report.version)}, fired=len(where) == len(DAMAGES))


@pytest.mark.parametrize("newer", [True, False], ids=["the newer copy", "the older copy"])
def test_a_damaged_copy_that_no_reader_meets_is_found_by_verify_and_replaced_by_repair(
    both_up: Stack, store: Store, parquet: Any, name: str, judge: Judge, newer: bool
) -> None:
    source, table = parquet(15_000)
    report = store.load(name, source, SMALL)
    refs = list(store.dataset(name).refs())
    where = damage(store, refs, newer=newer, first_asked=False)
    # Whom readers ask first is nobody's promise, so nobody reads here: it lies there until somebody looks.
    found = store.verify(name, each_replica=True)
    assert found.bad == len(where)
    assert store.debts(store.version(name)), "what was found is on record"
    repaired = store.repair(name)
    assert repaired.ok
    assert repaired.copies == len(where)
    assert store.verify(name, each_replica=True).ok
    assert not store.debts(store.version(name))
    column = table.column_names[TILE]
    assert store.dataset(name).to_table(columns=[column]).equals(table.select([column]))
    judge({name: Expected({report.version: table}, latest=report.version)}, fired=found.bad == len(DAMAGES))
