"""A job of two processes that is killed continues on one, on four and with a larger batch, without a row too many."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from millrace.api import Store
from millrace.load import LoadOptions
from millrace.training import LoaderState
from millrace.training.order import Order
from tests.integration.training.conftest import ROWS
from tests.integration.training.fetches import Fetches
from tests.integration.training.ranks import (
    BATCH_ROWS,
    LANES,
    Batches,
    global_batches,
    hash_of,
    numbered_table,
    rank_loaders,
    read_file,
    write_and_wait,
)

KILLED_AFTER = 100
"""Batches of some 188: beyond the second window of each lane, and in the middle of one."""


@dataclass(frozen=True)
class Killed:
    """A job that was killed: the batches that it delivered, and its newest state."""

    reference: str
    batches: Batches
    state: dict[str, Any]


@pytest.fixture(scope="module")
def killed(store: Store, numbered: str, tmp_path_factory: pytest.TempPathFactory) -> Killed:
    """Kill both processes of a job that have read ahead as far as their memory allows."""
    paths = [tmp_path_factory.mktemp("killed") / f"rank-{rank}" for rank in range(2)]
    spawn, loaders = multiprocessing.get_context("spawn"), rank_loaders(store, numbered, 2)
    processes = [
        spawn.Process(target=write_and_wait, args=(loader, path, KILLED_AFTER))
        for loader, path in zip(loaders, paths, strict=True)
    ]
    for process in processes:
        process.start()
    chunks = sum(_chunks(path) for path in paths)
    for process in processes:
        process.kill()
    for process in processes:
        process.join(30)
    delivered = [list(read_file(path)) for path in paths]
    states = [records[-1][1] for records in delivered]
    assert states[0] == states[1]
    assert chunks > _chunks_needed(store, numbered, states[0]), "both processes have read ahead"
    return Killed(numbered, global_batches([[batch for batch, _ in records] for records in delivered]), states[0])


def _chunks(path: Path) -> int:
    """Wait until the memory of a rank is full, and return the chunks that it has read."""
    record, deadline = path.with_suffix(".chunks"), time.monotonic() + 60
    while not (record.exists() and record.read_text()):
        assert time.monotonic() < deadline, "a rank does not deliver its batches"
        time.sleep(0.05)
    return int(record.read_text())


def _order(store: Store, reference: str) -> Order:
    [loader] = rank_loaders(store, reference, 1)
    rows = np.array([ref.rows for ref in store.dataset(reference).refs()])
    with loader:
        return Order(LoaderState.from_json(loader.state_dict()).spec, rows)


def _chunks_from(order: Order, row: int) -> Iterator[int]:
    """Return the chunks of the windows of epoch 0 from a row of the lanes on."""
    windows = (order.windows(lane, 0, from_row=row) for lane in range(LANES))
    return (fragment.chunk for window in chain(*windows) for fragment in window.fragments)


def _chunks_needed(store: Store, reference: str, state: dict[str, Any]) -> int:
    """Return the number of fragments of the windows up to the row of a state."""
    order = _order(store, reference)
    windows = chain(*(order.windows(lane, 0) for lane in range(LANES)))
    return sum(len(window.fragments) for window in windows if window.first_row < LoaderState.from_json(state).rows)


def check_resumed(store: Store, killed: Killed, fetches: Fetches, world: int, batch_rows: int) -> Batches:
    """Resume the job, check that each row comes once and no chunk before the window is read; return the batches."""
    with ExitStack() as closing:
        ranks = []
        for rank in range(world):
            options = {"rank": rank, "world_size": world, "global_batch_rows": batch_rows}
            ranks.append(list(closing.enter_context(store.resume(killed.state, **options))))
    rest = global_batches(ranks)
    rows = np.concatenate([batch["row"] for batch in killed.batches + rest])
    assert np.array_equal(np.sort(rows), np.arange(ROWS)), "each row comes once in the epoch"
    order, read = _order(store, killed.reference), {chunk for epoch, chunk in fetches.of_loaders if epoch == 0}
    assert read == set(_chunks_from(order, LoaderState.from_json(killed.state).rows))
    assert len(read) < store.version(killed.reference).chunks
    return rest


@pytest.mark.parametrize(("world", "batch_rows"), [(1, BATCH_ROWS), (4, BATCH_ROWS), (1, 2 * BATCH_ROWS)])
def test_a_killed_job_continues_with_each_row_once(
    store: Store, killed: Killed, unbroken: Batches, fetches: Fetches, world: int, batch_rows: int
) -> None:
    rest = check_resumed(store, killed, fetches, world, batch_rows)
    assert hash_of(killed.batches) == hash_of(unbroken[:KILLED_AFTER])
    if batch_rows == BATCH_ROWS:
        assert hash_of(rest) == hash_of(unbroken[KILLED_AFTER:])


@pytest.mark.parametrize("world", [1, 4])
def test_a_killed_job_continues_on_its_version_after_the_dataset_got_a_newer_one(
    store: Store, killed: Killed, unbroken: Batches, fetches: Fetches, world: int
) -> None:
    name = killed.reference.partition("@")[0]
    store.load(name, numbered_table(10_000, first=ROWS), LoadOptions(mode="append", chunk_bytes=65_536))
    assert store.version(name).reference != killed.reference
    rest = check_resumed(store, killed, fetches, world, BATCH_ROWS)
    assert hash_of(rest) == hash_of(unbroken[KILLED_AFTER:])
