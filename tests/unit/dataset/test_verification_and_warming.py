"""Verifying and warming a version, on an in-memory cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from millrace.api import Store
from millrace.dataset.verification import VerifyReport, verify_chunks
from millrace.dataset.warming import WarmReport, warm
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


class Redis:
    """An in-memory cache with a limited number of bytes."""

    def __init__(self, room_bytes: int = 10**9, admits: bool = True) -> None:
        self.room_bytes = room_bytes
        self.admits = admits
        self.kept: dict[tuple[Any, ...], list[bytes]] = {}
        self.forgotten: list[str] = []
        self.whole: list[tuple[str, int, int]] = []

    @staticmethod
    def _key(ref: ChunkRef) -> tuple[Any, ...]:
        return (ref.attempt_id, ref.bucket, ref.chunk)

    def admit(self, dataset: str, version: str, stored_bytes: int) -> Any:
        return SimpleNamespace(admitted=self.admits, reason="" if self.admits else "too large")

    def has(self, refs: Sequence[ChunkRef]) -> list[bool]:
        return [self._key(ref) in self.kept for ref in refs]

    def put(self, ref: ChunkRef, tiles: list[bytes]) -> bool:
        if ref.stored_bytes > self.room_bytes:
            return False
        self.room_bytes -= ref.stored_bytes
        self.kept[self._key(ref)] = tiles
        return True

    def delete(self, refs: Sequence[ChunkRef]) -> int:
        return sum(self.kept.pop(self._key(ref), None) is not None for ref in refs)

    def warmed(self, dataset: str, version: str, *, chunks: int, stored_bytes: int) -> None:
        self.whole.append((version, chunks, stored_bytes))

    def forget(self, dataset: str, version: str) -> None:
        self.forgotten.append(version)


def warmed(store: Store, redis: Any, reference: str = "flights") -> WarmReport:
    return warm(store.dataset(reference), store.chunk_reader, redis, switched_off="the URL is empty", task=null_task())


def test_warming_puts_every_chunk_into_the_cache_once(store: Store, chunks: list[ChunkRef]) -> None:
    redis = Redis()
    first, second = warmed(store, redis), warmed(store, redis)
    assert (first.complete, first.chunks, first.already_cached) == (True, len(chunks), 0)
    assert (second.chunks, second.already_cached) == (0, len(chunks))
    assert all(redis.kept[Redis._key(ref)] == store.chunk_reader.fetch(ref) for ref in chunks)


def test_a_version_that_is_not_admitted_is_not_cached(store: Store, chunks: list[ChunkRef]) -> None:
    redis = Redis(admits=False)
    report = warmed(store, redis)
    assert (report.complete, report.reason, report.chunks) == (False, "too large", 0)
    assert redis.kept == {}


def test_a_version_that_does_not_fit_leaves_nothing_in_the_cache(store: Store, chunks: list[ChunkRef]) -> None:
    redis = Redis(room_bytes=sum(ref.stored_bytes for ref in chunks[:-1]) + 10)
    report = warmed(store, redis)
    assert not report.complete
    assert "only part" in report.reason
    assert redis.kept == {}
    assert redis.whole == []
    assert redis.forgotten == [store.version("flights").label]


def test_an_append_that_does_not_fit_leaves_its_parents_chunks_warm(
    store: Store, chunks: list[ChunkRef], csv: Csv
) -> None:
    redis = Redis()
    warmed(store, redis)
    store.load("flights", csv(30_000, name="more.csv"), LoadOptions(mode="append", chunk_bytes=65_536))
    redis.room_bytes = 100_000
    assert not warmed(store, redis).complete
    assert set(redis.kept) == {Redis._key(ref) for ref in chunks}


def test_warming_without_a_cache_is_reported(store: Store, chunks: list[ChunkRef]) -> None:
    assert "no cache is configured (the URL is empty)" in warmed(store, None).reason
