"""The batches that real processes deliver are the same for every world, and each chunk is fetched once."""

from __future__ import annotations

import multiprocessing
from collections import Counter
from pathlib import Path

import pytest

from millrace.api import Store
from tests.integration.training.fetches import Fetches
from tests.integration.training.ranks import (
    LANES,
    Batches,
    global_batches,
    hash_of,
    rank_loaders,
    read_file,
    read_ranks,
    write_epoch,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.parametrize("world", [1, 2, 4])
def test_processes_of_every_world_deliver_the_same_global_batches(
    store: Store, numbered: str, unbroken: Batches, tmp_path: Path, world: int, method: str
) -> None:
    context = multiprocessing.get_context(method)
    paths = [tmp_path / f"rank-{rank}" for rank in range(world)]
    loaders = rank_loaders(store, numbered, world)
    processes = [
        context.Process(target=write_epoch, args=(loader, path))  # type: ignore[attr-defined]
        for loader, path in zip(loaders, paths, strict=True)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    for loader in loaders:
        loader.close()
    assert [process.exitcode for process in processes] == [0] * world
    assert hash_of(global_batches([list(read_file(path)) for path in paths])) == hash_of(unbroken)


@pytest.mark.parametrize("world", [1, 2, 4])
def test_all_ranks_together_fetch_at_most_one_chunk_twice_for_each_cut_between_lanes(
    store: Store, numbered: str, fetches: Fetches, world: int
) -> None:
    read_ranks(store, numbered, world)
    counts = Counter(chunk for epoch, chunk in fetches.of_loaders if epoch == 0)
    assert set(counts) == set(range(store.version(numbered).chunks))
    assert max(counts.values()) <= 2
    assert sum(counts.values()) <= len(counts) + LANES - 1
    # One fetch of the store for each of them, also of those that were read ahead for the next epoch.
    assert fetches.of_store <= len(fetches.of_loaders)
