"""Loans of chunks: one load for concurrent users, and memory that is free when the last of them has left."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pytest

from millrace.dataset.chunk_loans import ChunkLoans, LoansInUse, loans_through
from millrace.dataset.reused_memory import ReusedMemory


class Loader:
    """Loads batches of one number, and records the memory of each load."""

    def __init__(self) -> None:
        self.memories: list[ReusedMemory] = []
        self.shared = 0
        self.may_finish = threading.Event()
        self.may_finish.set()

    def load(self, memory: ReusedMemory) -> pa.RecordBatch:
        assert self.may_finish.wait(20)
        self.memories.append(memory)
        memory.begin(8)
        memoryview(memory.allocate(8)).cast("B")[0] = len(self.memories) % 256
        return pa.record_batch({"n": [len(self.memories)]})

    def count_shared(self) -> None:
        self.shared += 1

    def use(self, loans: ChunkLoans, key: str) -> int:
        with loans.lend(key, self.load, on_shared=self.count_shared) as batch:
            return int(batch["n"][0].as_py())


def test_users_one_after_another_load_again_into_the_same_memory() -> None:
    loans, loader = ChunkLoans(LoansInUse()), Loader()
    assert [loader.use(loans, "a") for _ in range(3)] == [1, 2, 3]
    assert len(set(map(id, loader.memories))) == 1
    assert loader.shared == 0


def test_a_user_that_waits_gets_the_batch_of_the_running_load() -> None:
    loans, loader = ChunkLoans(LoansInUse()), Loader()
    loader.may_finish.clear()
    with ThreadPoolExecutor(5) as pool:
        users = [pool.submit(loader.use, loans, "a") for _ in range(5)]
        while any(not user.running() for user in users):
            pass
        threading.Timer(0.2, loader.may_finish.set).start()
        assert [user.result() for user in users] == [1] * 5
    assert (len(loader.memories), loader.shared) == (1, 4)


def test_the_memory_is_not_reused_while_another_user_is_in_the_block() -> None:
    loans, loader = ChunkLoans(LoansInUse()), Loader()
    first = loans.lend("a", loader.load, on_shared=loader.count_shared)
    second = loans.lend("a", loader.load, on_shared=loader.count_shared)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    loader.use(loans, "b")
    assert loader.memories[0] is not loader.memories[1]
    assert loader.use(loans, "a") == 1
    second.__exit__(None, None, None)
    loader.use(loans, "c")
    loader.use(loans, "d")
    assert set(map(id, loader.memories[2:])) <= set(map(id, loader.memories[:2]))


def test_there_are_no_more_memories_than_concurrent_users() -> None:
    loans, loader = ChunkLoans(LoansInUse()), Loader()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: loader.use(loans, f"k{number % 40}"), range(400)))
    assert len(set(map(id, loader.memories))) <= 4


def test_an_error_is_raised_for_every_waiting_user_and_the_next_user_loads_again() -> None:
    loans, loader = ChunkLoans(LoansInUse()), Loader()
    begin, may_fail = threading.Barrier(3), threading.Event()
    loads = []

    def fail(memory: ReusedMemory) -> pa.RecordBatch:
        loads.append(memory)
        assert may_fail.wait(20)
        raise ValueError("no chunk")

    def use() -> None:
        begin.wait(20)
        with loans.lend("a", fail, on_shared=loader.count_shared):
            raise AssertionError("not reached")

    with ThreadPoolExecutor(3) as pool:
        users = [pool.submit(use) for _ in range(3)]
        threading.Timer(0.3, may_fail.set).start()
        for user in users:
            with pytest.raises(ValueError, match="no chunk"):
                user.result()
    assert len(loads) == 1
    assert loader.use(loans, "a") == 1
    assert loader.memories[0] is loads[0]


def test_an_error_in_the_block_of_a_user_ends_its_loan() -> None:
    loans, loader = ChunkLoans(LoansInUse()), Loader()
    with pytest.raises(ValueError, match="in the block"), loans.lend("a", loader.load, on_shared=int):
        raise ValueError("in the block")
    assert loader.use(loans, "a") == 2
    assert loader.memories[0] is loader.memories[1]


def test_lenders_with_one_connection_share_chunks_and_keep_their_own_memory() -> None:
    connection, other = Loader(), Loader()
    assert loans_through(connection) is loans_through(connection)
    assert loans_through(connection) is not loans_through(other)
    lenders = [ChunkLoans(loans_through(connection)) for _ in range(2)]
    loader = Loader()
    first = lenders[0].lend("a", loader.load, on_shared=loader.count_shared)
    first.__enter__()
    second = lenders[1].lend("a", loader.load, on_shared=loader.count_shared)
    second.__enter__()
    first.__exit__(None, None, None)
    second.__exit__(None, None, None)
    assert (len(loader.memories), loader.shared) == (1, 1)
    loader.use(lenders[1], "b")
    loader.use(lenders[0], "b")
    assert loader.memories[1] is not loader.memories[0]
    assert loader.memories[2] is loader.memories[0]
