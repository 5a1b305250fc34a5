"""Verifying a version, on an in-memory cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from millrace.api import Store
from millrace.dataset.verification import VerifyReport, verify_chunks
from millrace.load import LoadOptions
from millrace.progress import null_task
from millrace.store.catalogue.manifest import ChunkRef
from tests.unit.store.fakes import FakeCassandra, FakeHost, reset
from tests.unit.store.in_memory import cassandra, csv, settings, store

__all__ = ["cassandra", "csv", "settings", "store"]
Csv = Callable[..., str]


@pytest.fixture
def chunks(store: Store, csv: Csv) -> list[ChunkRef]:
    """Return the chunks of a dataset with more than three."""
    store.load("flights", csv(60_000), LoadOptions(chunk_bytes=65_536))
    refs = list(store.dataset("flights").refs())
    assert len(refs) > 3
    return refs


def change(host: FakeHost, chunk: int, tile: int, how: Callable[[bytes], bytes]) -> None:
    for key, (_, row) in host.rows["chunks"].items():
        if (key[3], key[4]) == (chunk, tile):
            row["data"] = how(row["data"])


def flipped(data: bytes) -> bytes:
    return data[:20] + bytes([data[20] ^ 4]) + data[21:]


def cut(data: bytes) -> bytes:
    return data[:-1]


@pytest.mark.parametrize("each_replica", [False, True])
def test_an_undamaged_version_is_ok(store: Store, chunks: list[ChunkRef], each_replica: bool) -> None:
    report = store.verify("flights", each_replica=each_replica)
    assert report.ok
    assert (report.chunks, report.rows) == (len(chunks), 60_000)
    assert report.copies == len(chunks) * (2 if each_replica else 1)
    assert report.stored_bytes == sum(ref.stored_bytes for ref in chunks)


@pytest.mark.parametrize("how", [flipped, cut, None], ids=["flipped", "cut", "swapped"])
def test_damage_on_both_nodes_is_found_with_chunk_and_tile(
    store: Store, cassandra: FakeCassandra, chunks: list[ChunkRef], how: Any
) -> None:
    other = next(row["data"] for row in cassandra.table("chunks") if (row["chunk"], row["tile"]) == (2, 1))
    for host in (cassandra.a, cassandra.b):
        change(host, 1, 1, how or (lambda _data: other))
    report = store.verify("flights")
    assert not report.ok
    assert report.bad_copies == 1
    (problem,) = report.problems
    assert (problem["error"], problem["chunk"], problem["tile"]) == ("ChecksumMismatchError", "1", "1")


@pytest.mark.parametrize("node", ["a", "b"])
@pytest.mark.parametrize("missing", [False, True])
def test_damage_on_one_node_is_found_and_named_only_by_reading_each_replica(
    store: Store, cassandra: FakeCassandra, chunks: list[ChunkRef], node: str, missing: bool
) -> None:
    host: FakeHost = getattr(cassandra, node)
    if missing:
        for key in [key for key in host.rows["chunks"] if key[3] == 2]:
            del host.rows["chunks"][key]
    else:
        change(host, 2, 0, flipped)
    report = store.verify("flights", each_replica=True)
    assert report.bad_copies == 1
    (problem,) = report.problems
    assert problem["error"] == ("ChunkMissingError" if missing else "ChecksumMismatchError")
    assert problem["node"] == host.address
    assert store.verify("flights").ok
    assert store.dataset("flights").to_table().num_rows == 60_000


def test_an_unreachable_node_is_reported_as_a_problem(
    store: Store, cassandra: FakeCassandra, chunks: list[ChunkRef]
) -> None:
    cassandra.unreachable["10.0.0.2"] = reset()
    report = store.verify("flights", each_replica=True)
    assert report.bad_copies == len(chunks) + 1  # and one for its pages and rows
    assert {problem["error"] for problem in report.problems} == {"StoreUnavailableError"}


def test_the_first_hundred_problems_are_shown_and_all_are_counted(
    store: Store, cassandra: FakeCassandra, chunks: list[ChunkRef]
) -> None:
    for host in (cassandra.a, cassandra.b):
        host.rows["chunks"].clear()
    refs = chunks * (100 // len(chunks) + 1)
    report = verify_chunks(store.chunk_reader, refs, VerifyReport("flights"), task=null_task())
    assert report.bad_copies == report.chunks == len(refs) > 100
    assert len(report.problems) == 100
