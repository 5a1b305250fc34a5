"""A batch that is kept never changes, in any format; its memory is the consumer's, and only its own."""

from __future__ import annotations

import gc
import random
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from millrace.training.columns import ColumnPlan
from millrace.training.order import Tail
from millrace.training.reader.arena import Arena
from millrace.training.reader.places import RingShape
from millrace.training.reader.ring import Ring
from tests.unit.training.in_memory import MemoryDataset, numbered, rows_of


@pytest.fixture
def dataset() -> MemoryDataset:
    return numbered([40] * 24)


def tight(dataset: MemoryDataset, **options: Any) -> int:
    """Return the least ``prefetch_bytes``, with which slots are used again as soon as possible."""
    for prefetch_bytes in (1,):
        with pytest.raises(Exception, match="use at least") as refused:
            dataset.loader(prefetch_bytes=prefetch_bytes, **options)
    return int(refused.value.context["expected"])


def check_kept(dataset: MemoryDataset, kept_share: float, **options: Any) -> None:
    """Keep some batches of three epochs, or a part of them, and compare them at the end with their first content."""
    choose, kept = random.Random(5), []
    with dataset.loader(32, window_chunks=1, **options) as loader:
        for _ in range(3):
            rows = []
            for batch in loader:
                rows += rows_of(batch)
                if choose.random() < kept_share:
                    part = {name: column[4:9] for name, column in batch.items()}
                    kept.append((part, {name: column.copy() for name, column in part.items()}))
            assert sorted(rows) == list(range(960))
    assert kept
    for part, first in kept:
        assert all((part[name] == first[name]).all() for name in first), "a kept batch has changed"


@pytest.mark.parametrize("kept_share", [1.0, 0.5, 0.05])
@pytest.mark.parametrize("is_tight", [False, True])
def test_kept_batches_do_not_change(dataset: MemoryDataset, kept_share: float, is_tight: bool) -> None:
    check_kept(dataset, kept_share, prefetch_bytes=tight(dataset, window_chunks=1) if is_tight else None)


def test_kept_batches_of_a_transform_do_not_change(dataset: MemoryDataset) -> None:
    check_kept(dataset, 0.3, transform=dict)


def test_a_buffer_that_is_reused_under_a_kept_batch_is_caught(
    dataset: MemoryDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ring, "is_kept", lambda ring, slot: False)
    with pytest.raises(AssertionError, match="a kept batch has changed"):
        check_kept(dataset, 1.0)


def test_kept_arrow_batches_and_their_buffers_do_not_change(dataset: MemoryDataset) -> None:
    with dataset.loader(32, window_chunks=1, format="arrow") as loader:
        kept = [(batch.column("x").slice(3, 4), batch.column("x").slice(3, 4).to_pylist()) for batch in loader]
        kept += [(batch.column("row"), batch.column("row").to_pylist()) for batch in loader]
        for _ in range(2):
            list(loader)
    gc.collect()
    assert all(column.to_pylist() == first for column, first in kept)


def test_a_table_of_all_batches_of_an_epoch_is_right(dataset: MemoryDataset) -> None:
    with dataset.loader(32, window_chunks=1, format="arrow") as loader:
        table = pa.Table.from_batches(list(loader))
        list(loader)
    assert sorted(table.column("row").to_pylist()) == list(range(960))


def test_batches_that_are_not_kept_share_one_ring(dataset: MemoryDataset) -> None:
    with dataset.loader(32, window_chunks=1) as loader:
        next(iter(loader))
        rings = loader._opened._reading._arena._rings  # type: ignore[union-attr]
        before = list(rings)
        for _ in range(5):
            for batch in loader:
                assert len(batch["row"]) == 32
        assert rings == before


def test_a_column_that_is_kept_gets_a_new_ring_and_the_others_do_not(dataset: MemoryDataset) -> None:
    with dataset.loader(32, window_chunks=1) as loader:
        batches = iter(loader)
        kept = next(batches)["row"]
        rings = loader._opened._reading._arena._rings  # type: ignore[union-attr]
        before = list(rings)
        for batch in islice(loader, 29):
            rows_of(batch)
        rows_of(next(iter(loader)))
        assert rings[0] is not before[0]
        assert rings[1] is before[1]
        assert len(set(kept.tolist())) == 32


PLAN = ColumnPlan("x", pa.int64(), np.dtype(np.int64), is_copy=True)


def shape(slots: int, slot_rows: int) -> RingShape:
    return RingShape(slots, range(1), slot_rows, Tail.DROP_LAST)


def test_a_ring_that_is_left_to_one_kept_batch_gives_the_other_memory_back() -> None:
    ring = Ring(PLAN, shape(64, 4096))
    ring.rows[:] = 7
    kept = ring.batch(9, 4096)
    ring.batch(10, 4096)
    new = ring.replacement(20, 24)
    assert (kept == 7).all()
    assert ring.rows[: 9 * 4096].sum() == 0  # pages that were given back read as zeros
    assert ring.rows[10 * 4096 : 64 * 4096].sum() == 0
    assert (new.rows[20 * 4096 : 24 * 4096] == 7).all()
    assert not new.is_kept(9)


def test_a_replacement_moves_the_slots_across_the_end_of_the_ring() -> None:
    ring = Ring(PLAN, shape(8, 16))
    ring.rows[: 8 * 16] = np.arange(8 * 16)
    new = ring.replacement(14, 18)  # places 6, 7, 0 and 1
    for place in (6, 7, 0, 1):
        assert (new.rows[place * 16 : (place + 1) * 16] == np.arange(place * 16, (place + 1) * 16)).all()
    assert new.rows[2 * 16 : 6 * 16].sum() == 0


def test_a_ring_is_replaced_only_while_no_thread_writes() -> None:
    import threading

    arena = Arena([PLAN], shape(4, 8))
    kept = arena.batch(0, 8)
    begun, may_end, replaced = threading.Event(), threading.Event(), threading.Event()

    def write() -> None:
        with arena.writing() as rings:
            begun.set()
            may_end.wait(10)
            rings[0][16:24] = 5

    def claim() -> None:
        begun.wait(10)
        arena.claim(4, 5, range(2, 4))
        replaced.set()

    threads = [threading.Thread(target=target) for target in (write, claim)]
    for thread in threads:
        thread.start()
    assert not replaced.wait(0.1)
    may_end.set()
    for thread in threads:
        thread.join()
    with arena.writing() as rings:
        assert (rings[0][16:24] == 5).all(), "the rows that were being written have moved"
        rings[0][0:8] = 9
    assert (kept[0] == 0).all()
