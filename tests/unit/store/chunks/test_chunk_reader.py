"""Which copy of a chunk is read, and which error is raised when no copy is the written one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from cassandra import OperationTimedOut

from millrace.api import Store
from millrace.compat.cassandra.large_frames import NODE_LOCAL
from millrace.errors import ChecksumMismatchError, ChunkMissingError, StoreTimeoutError, StoreUnavailableError
from millrace.store.catalogue.manifest import ChunkRef
from millrace.store.cluster.driver import LOCAL_ONE, TWO
from tests.unit.store.fakes import FakeCassandra, FakeHost, reset

Csv = Callable[..., str]


@pytest.fixture
def ref(store: Store, csv: Csv) -> ChunkRef:
    """Return the only chunk of a dataset, with two tiles."""
    store.load("flights", csv(100))
    (ref,) = store.dataset("flights").refs()
    return ref


@pytest.fixture
def good(store: Store, cassandra: FakeCassandra, ref: ChunkRef) -> list[bytes]:
    """Return the tiles of the chunk as they were written."""
    tiles = store.chunk_reader.fetch(ref)
    cassandra.reads.clear()
    return tiles


def damage(host: FakeHost, tile: int = 0, data: bytes = b"wrong") -> None:
    for key, (_, row) in host.rows["chunks"].items():
        if key[-1] == tile:
            row["data"] = data


def lose(host: FakeHost, tile: int | None = None) -> None:
    for key in [key for key in host.rows["chunks"] if tile is None or key[-1] == tile]:
        del host.rows["chunks"][key]


def asked(cassandra: FakeCassandra) -> list[tuple[int, str]]:
    """Return the level and node of each read of chunk data, without reads of write times before a replacement."""
    queries = [(query, level, where) for query, level, where in cassandra.reads if ".chunks" in query]
    return [(level, where) for query, level, where in queries if "WRITETIME" not in query]


def test_one_replica_is_read_when_its_copy_is_good(
    store: Store, cassandra: FakeCassandra, ref: ChunkRef, good: list[bytes]
) -> None:
    assert store.chunk_reader.fetch(ref) == good
    assert asked(cassandra) == [(LOCAL_ONE, "10.0.0.1")]


@pytest.mark.parametrize("harm", [damage, lose], ids=["wrong", "missing"])
@pytest.mark.parametrize("tiles", [None, [0], [1, 0], [0, 1]])
def test_a_bad_copy_is_passed_over_for_the_other_one(
    store: Store, cassandra: FakeCassandra, ref: ChunkRef, good: list[bytes], harm: Any, tiles: list[int] | None
) -> None:
    harm(cassandra.a)
    numbers = [0, 1] if tiles is None else tiles
    assert store.chunk_reader.fetch(ref, tiles) == [good[tile] for tile in numbers]
    assert asked(cassandra) == [(LOCAL_ONE, "10.0.0.1"), (LOCAL_ONE, "10.0.0.2")]
    # A wrong copy is replaced with the good one. A missing copy is left to repair, which knows why it is missing.
    again = [row["data"] for row in cassandra.table("chunks", cassandra.a) if row["chunk"] == ref.chunk]
    assert (again == good) is (harm is damage)


@pytest.mark.parametrize(
    "error",
    [reset(), OperationTimedOut({}, None)],
    ids=["reset", "silent"],
)
def test_a_node_that_does_not_answer_is_passed_over(
    store: Store, cassandra: FakeCassandra, ref: ChunkRef, good: list[bytes], error: Exception
) -> None:
    cassandra.unreachable["10.0.0.1"] = error
    assert store.chunk_reader.fetch(ref) == good


def test_a_node_that_the_driver_calls_down_is_read_last(
    store: Store, cassandra: FakeCassandra, ref: ChunkRef, good: list[bytes]
) -> None:
    cassandra.a.is_up = False
    assert store.chunk_reader.fetch(ref) == good
    assert asked(cassandra) == [(LOCAL_ONE, "10.0.0.2")]


def test_the_later_write_never_decides_between_copies(
    store: Store, cassandra: FakeCassandra, ref: ChunkRef, good: list[bytes]
) -> None:
    """At TWO the newer copy wins, and that may be the damaged one."""
    damage(cassandra.a)
    lose(cassandra.b)
    with pytest.raises(ChecksumMismatchError):
        store.chunk_reader.fetch(ref)
    assert TWO not in [level for level, _ in asked(cassandra)]


def test_two_bad_copies_are_an_error_with_the_tile_the_node_and_both_checksums(
    store: Store, cassandra: FakeCassandra, ref: ChunkRef, good: list[bytes]
) -> None:
    for host in (cassandra.a, cassandra.b):
        damage(host, tile=1)
    with pytest.raises(ChecksumMismatchError, match=rf"tile 1 of chunk {ref} from 10\.0\.0\.1") as caught:
        store.chunk_reader.fetch(ref)
    facts = caught.value.context
    assert (facts["dataset"], facts["chunk"], facts["tile"], facts["node"]) == ("flights", 0, 1, "10.0.0.1")
    assert facts["expected"] != facts["actual"]
    assert "no node that should hold it has a good copy" in str(caught.value)


def test_two_copies_damaged_in_different_tiles_make_a_whole_one(
    store: Store, cassandra: FakeCassandra, ref: ChunkRef, good: list[bytes]
) -> None:
    damage(cassandra.a, tile=0)
    damage(cassandra.b, tile=1)
    assert store.chunk_reader.fetch(ref) == good


def test_the_data_of_another_tile_counts_as_damaged(
    store: Store, cassandra: FakeCassandra, ref: ChunkRef, good: list[bytes]
) -> None:
    damage(cassandra.a, tile=0, data=good[1])
    assert store.chunk_reader.fetch(ref) == good
    for host in (cassandra.a, cassandra.b):
        damage(host, tile=0, data=good[1])
    with pytest.raises(ChecksumMismatchError):
        store.chunk_reader.fetch(ref)


@pytest.mark.parametrize("allowed", [True, False])
def test_a_coordinator_that_answers_from_the_other_node_does_not_hide_the_good_copy(
    store: Store, cassandra: FakeCassandra, ref: ChunkRef, good: list[bytes], allowed: bool
) -> None:
    """Both nodes answer LOCAL_ONE with B's damaged copy; A's own copy is good and only NODE_LOCAL returns it."""
    damage(cassandra.b)
    cassandra.node_local_allowed = allowed
    inner = cassandra._select

    def answer_from_b(query: str, statement: Any, host: FakeHost | None) -> list[Any]:
        elsewhere = statement.consistency_level == LOCAL_ONE and ".chunks" in query
        return inner(query, statement, cassandra.b if elsewhere else host)

    cassandra._select = answer_from_b  # type: ignore[method-assign]
    if allowed:
        assert store.chunk_reader.fetch(ref) == good
        assert (NODE_LOCAL, "10.0.0.1") in asked(cassandra)
    else:
        with pytest.raises(ChecksumMismatchError):
            store.chunk_reader.fetch(ref)


def test_a_chunk_missing_on_both_nodes_is_a_retriable_error(
    store: Store, cassandra: FakeCassandra, ref: ChunkRef, good: list[bytes]
) -> None:
    for host in (cassandra.a, cassandra.b):
        lose(host)
    with pytest.raises(ChunkMissingError, match=f"tile 0 of chunk {ref}") as caught:
        store.chunk_reader.fetch(ref)
    assert caught.value.retriable
    assert asked(cassandra)[-1] == (TWO, "both")


@pytest.mark.parametrize("harm", [damage, lose], ids=["wrong", "missing"])
def test_a_bad_copy_with_the_other_node_down_is_an_error_that_names_that_node(
    store: Store, cassandra: FakeCassandra, ref: ChunkRef, good: list[bytes], harm: Any
) -> None:
    harm(cassandra.a)
    cassandra.unreachable["10.0.0.2"] = reset()
    with pytest.raises((ChecksumMismatchError, ChunkMissingError)) as caught:
        store.chunk_reader.fetch(ref)
    assert "10.0.0.2 did not answer and may have a good copy" in str(caught.value)
    assert caught.value.context["unreachable"] == ["10.0.0.2"]


@pytest.mark.parametrize(
    ("error", "kind"), [(reset(), StoreUnavailableError), (OperationTimedOut({}, None), StoreTimeoutError)]
)
def test_with_both_nodes_unreachable_the_error_is_retriable_and_names_the_chunk(
    store: Store,
    cassandra: FakeCassandra,
    ref: ChunkRef,
    good: list[bytes],
    error: Exception,
    kind: type[StoreUnavailableError],
) -> None:
    for address in ("10.0.0.1", "10.0.0.2"):
        cassandra.unreachable[address] = error
    with pytest.raises(kind, match=f"chunk {ref} cannot be read") as caught:
        store.chunk_reader.fetch(ref)
    assert caught.value.retriable


def test_from_one_node_alone_only_its_own_copy_counts(
    store: Store, cassandra: FakeCassandra, ref: ChunkRef, good: list[bytes]
) -> None:
    lose(cassandra.a)
    hosts = {host.address: host for host in store.chunk_reader.replicas(ref)}
    assert store.chunk_reader.fetch_from(hosts["10.0.0.2"], ref) == good
    with pytest.raises(ChunkMissingError, match=r"is not on 10\.0\.0\.1"):
        store.chunk_reader.fetch_from(hosts["10.0.0.1"], ref)
    assert {level for level, _ in asked(cassandra)} == {NODE_LOCAL}


@pytest.fixture
def many(store: Store, csv: Csv) -> list[ChunkRef]:
    """Return several chunks of one bucket."""
    from millrace.load import LoadOptions

    store.load("many", csv(60_000), LoadOptions(chunk_bytes=65_536))
    return list(store.dataset("many").refs())


def test_the_same_tiles_of_many_chunks_come_in_one_request(
    store: Store, cassandra: FakeCassandra, many: list[ChunkRef]
) -> None:
    expected = [store.chunk_reader.fetch(ref, [1]) for ref in many]
    cassandra.reads.clear()
    assert store.chunk_reader.fetch_many(many, [1]) == expected
    assert len(many) > 2
    assert len(asked(cassandra)) == 1


@pytest.mark.parametrize("harm", [damage, lose], ids=["wrong", "missing"])
def test_of_many_chunks_only_the_bad_ones_are_requested_again(
    store: Store, cassandra: FakeCassandra, many: list[ChunkRef], harm: Any
) -> None:
    expected = [store.chunk_reader.fetch(ref, [1]) for ref in many]
    broken = FakeHost("x", rows={"chunks": {k: v for k, v in cassandra.a.rows["chunks"].items() if k[3] == 1}})
    harm(broken, tile=1)
    if harm is lose:
        lose_one = [key for key in cassandra.a.rows["chunks"] if key[3] == 1 and key[4] == 1]
        for key in lose_one:
            del cassandra.a.rows["chunks"][key]
    cassandra.reads.clear()
    assert store.chunk_reader.fetch_many(many, [1]) == expected
    assert 2 <= len(asked(cassandra)) <= 3


def test_many_chunks_of_an_unreachable_node_come_from_the_other_one(
    store: Store, cassandra: FakeCassandra, many: list[ChunkRef]
) -> None:
    expected = [store.chunk_reader.fetch(ref, [0, 1]) for ref in many]
    for address in ("10.0.0.1", "10.0.0.2"):
        cassandra.unreachable = {address: reset()}
        assert store.chunk_reader.fetch_many(many, [0, 1]) == expected
