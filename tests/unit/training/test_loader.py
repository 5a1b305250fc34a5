"""A loader over a dataset in memory: epochs, states, errors, threads, and who may use it."""

from __future__ import annotations

import gc
import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import chain, islice
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pytest

from millrace.dataset import with_splits
from millrace.errors import ChunkError, StoreTimeoutError, UsageError
from millrace.training.loader import TrainingLoader
from millrace.training.opened import OpenedLoader
from millrace.training.options import LoaderOptions
from tests.unit.training.in_memory import MemoryDataset, MemorySource, epoch_rows, numbered, rows_of
from tests.waiting import until

CHUNKS = [40] * 12
"""Rows of the chunks of most tests: 15 batches of 32."""


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("millrace-tr")}


def eventually(condition: Callable[[], bool]) -> None:
    until(condition, "a thread", interval_s=0.002)


@pytest.fixture
def dataset() -> MemoryDataset:
    return numbered(CHUNKS)


def test_epochs_follow_one_another_in_different_orders(dataset: MemoryDataset) -> None:
    with dataset.loader() as loader:
        epochs = [epoch_rows(loader) for _ in range(4)]
    assert all(sorted(chain(*epoch)) == list(range(480)) for epoch in epochs)
    assert len({json.dumps(epoch) for epoch in epochs}) == 4


def test_an_iteration_that_was_left_is_continued(dataset: MemoryDataset) -> None:
    with dataset.loader() as loader, dataset.loader() as other:
        whole = epoch_rows(other)
        begun = [rows_of(batch) for batch in islice(loader, 6)]
        assert begun + epoch_rows(loader) == whole


def test_leaving_after_the_last_batch_goes_on_with_the_next_epoch(dataset: MemoryDataset) -> None:
    with dataset.loader() as loader, dataset.loader() as other:
        epoch_rows(other)
        list(islice(loader, 15))
        assert loader.epoch == 1
        assert epoch_rows(loader) == epoch_rows(other)


def fragments(loader: TrainingLoader) -> int:
    """Return the fragments that a loader reads in an epoch."""
    opened = loader._opened
    assert opened is not None
    order = opened.prepared.plan.order
    return sum(len(window.fragments) for lane in loader.outline.lanes for window in order.windows(lane, 0))


def test_the_next_epoch_is_read_while_the_last_batches_of_this_one_are_used(dataset: MemoryDataset) -> None:
    with dataset.loader(window_chunks=1) as loader:
        batches = iter(loader)
        for _ in range(15):
            next(batches)
        eventually(lambda: dataset.source.stats.cassandra >= fragments(loader) + 8)
        dataset.source.gate = threading.Event()  # from here on no chunk is read
        assert next(batches, None) is None
        assert rows_of(next(iter(loader)))
        dataset.source.gate.set()


def test_set_epoch_goes_to_the_beginning_of_an_epoch(dataset: MemoryDataset) -> None:
    with dataset.loader() as loader, dataset.loader() as other:
        epochs = [epoch_rows(other) for _ in range(3)]
        list(islice(loader, 4))
        loader.set_epoch(2)
        assert loader.epoch == 2
        assert epoch_rows(loader) == epochs[2]
        loader.set_epoch(0)
        assert epoch_rows(loader) == epochs[0]


def test_set_epoch_to_the_next_epoch_keeps_what_was_read_ahead(dataset: MemoryDataset) -> None:
    with dataset.loader(window_chunks=1) as loader:
        epoch_rows(loader)
        eventually(lambda: dataset.source.stats.cassandra >= fragments(loader) + 8)
        dataset.source.gate = threading.Event()
        loader.set_epoch(1)
        assert rows_of(next(iter(loader)))
        dataset.source.gate.set()


def test_len_is_the_number_of_batches(dataset: MemoryDataset) -> None:
    with dataset.loader() as loader:
        assert len(loader) == 15
        assert [len(loader) for _ in loader] == [15] * 15
        state = loader.state_at(20)
        loader.load_state_dict(state)
        assert len(loader) == 10
        assert len(list(loader)) == 10
        assert len(loader) == 15


@pytest.mark.parametrize("delivered", range(16))
def test_the_state_counts_the_batches_that_the_consumer_has_got(dataset: MemoryDataset, delivered: int) -> None:
    with dataset.loader() as loader, dataset.loader() as resumed, dataset.loader() as other:
        whole = epoch_rows(other) + epoch_rows(other)
        list(islice(loader, delivered))
        state = json.loads(json.dumps(loader.state_dict()))
        assert state == other.state_at(delivered)
        resumed.load_state_dict(state)
        rest = epoch_rows(resumed)
        assert rest + (epoch_rows(resumed) if delivered < 15 else []) == whole[delivered:]


def test_state_at_counts_from_the_position_of_the_loader_and_over_epochs(dataset: MemoryDataset) -> None:
    with dataset.loader() as loader:
        assert [loader.state_at(step)["rows"] for step in (0, 1, 14)] == [0, 4, 56]
        assert (loader.state_at(15)["epoch"], loader.state_at(15)["rows"]) == (1, 0)
        assert (loader.state_at(47)["epoch"], loader.state_at(47)["rows"]) == (3, 8)
        loader.load_state_dict(loader.state_at(47))
        list(islice(loader, 2))
        assert loader.state_at(2) == loader.state_dict()
        loader.set_epoch(0)
        assert loader.state_at(2)["rows"] == 8


def test_a_state_goes_on_with_another_batch_size(dataset: MemoryDataset) -> None:
    with dataset.loader() as loader, dataset.loader(64) as larger:
        list(islice(loader, 3))
        larger.load_state_dict(loader.state_dict())
        rest = epoch_rows(larger)
        assert [len(rows) for rows in rest] == [64] * 6
        delivered = {row for rows in epoch_rows(loader) for row in rows}
        assert set(chain(*rest)) <= delivered


def test_a_state_at_which_no_full_batch_is_left_begins_the_next_epoch(dataset: MemoryDataset) -> None:
    with dataset.loader() as loader, dataset.loader(64) as larger, dataset.loader(64) as other:
        list(islice(loader, 14))
        larger.load_state_dict(loader.state_dict())
        other.set_epoch(1)
        assert epoch_rows(larger) == epoch_rows(other)


def test_load_state_dict_is_refused_while_an_iteration_is_under_way(dataset: MemoryDataset) -> None:
    with dataset.loader() as loader:
        state = loader.state_dict()
        batches = iter(loader)
        next(batches)
        with pytest.raises(UsageError, match="load_state_dict is not possible while an iteration is under way"):
            loader.load_state_dict(state)
        with pytest.raises(UsageError, match="set_epoch is not possible while an iteration is under way"):
            loader.set_epoch(3)
        batches.close()
        loader.load_state_dict(state)
        assert len(list(loader)) == 15
        loader.load_state_dict(state)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"seed": 1}, "seed"),
        ({"lanes": 4}, "lanes"),
        ({"window_chunks": 1}, "window"),
        ({"shuffle": "full"}, "shuffle"),
    ],
)
def test_a_state_of_another_order_is_refused(dataset: MemoryDataset, changes: dict[str, Any], field: str) -> None:
    loader, other = dataset.loader(), dataset.loader(**changes)
    with pytest.raises(UsageError, match=f"the state has {field} "):
        loader.load_state_dict(other.state_dict())


def test_a_state_of_another_version_is_refused(dataset: MemoryDataset) -> None:
    other = numbered(CHUNKS, reference="flights@13-77aa01").loader()
    with pytest.raises(UsageError, match="the state has version 'flights@13-77aa01'"):
        dataset.loader().load_state_dict(other.state_dict())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"global_batch_rows": 36}, "36 is not a multiple of lanes 8: use global_batch_rows 32 or 40"),
        ({"world_size": 3, "rank": 0}, "8 lanes cannot be shared equally by world_size 3: use world_size 2 or 4, or"),
        ({"world_size": 2, "rank": 2}, "rank 2 is not one of 2 ranks"),
        ({"columns": ["y"]}, "column.*'y'"),
        ({"split": "train"}, "has no splits"),
        ({"shuffle": "some"}, "shuffle='some' does not exist: use one of 'none', 'chunk', 'window', 'full'"),
        ({"tail": "cut"}, "tail='cut' does not exist"),
        ({"format": "csv"}, "format='csv' does not exist"),
        ({"global_batch_rows": 512}, "480 rows do not have one full batch of 512 rows"),
        ({"lanes": 0}, "lanes is 0"),
        ({"cache_bytes": -1}, "cache_bytes is -1"),
        ({"seed": -1}, "seed is -1"),
        ({"window_chunks": 0}, "window_chunks is 0"),
    ],
)
def test_an_impossible_option_is_refused_in_one_line(
    dataset: MemoryDataset, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message) as refused:
        dataset.loader(**options)
    assert "\n" not in str(refused.value)


def test_a_version_with_splits_asks_for_one_of_them(dataset: MemoryDataset) -> None:
    dataset.schema = with_splits(dataset.schema, {"train": range(9), "test": range(9, 12)})
    with pytest.raises(UsageError, match="has splits, and none is chosen: use split= with one of train, test"):
        dataset.loader()
    with pytest.raises(UsageError, match="has no split 'trian': did you mean 'train'"):
        dataset.loader(split="trian")
    with dataset.loader(split="test", global_batch_rows=8) as loader:
        assert sorted(chain(*epoch_rows(loader))) == list(range(360, 480))
        assert set(dataset.source.borrowed) == {9, 10, 11}


def test_columns_do_not_change_the_order(dataset: MemoryDataset) -> None:
    with dataset.loader() as whole, dataset.loader(columns=["row"]) as narrow:
        for both, one in zip(whole, narrow, strict=True):
            assert list(one) == ["row"]
            assert (one["row"] == both["row"]).all()


def test_arrow_batches_have_the_same_rows(dataset: MemoryDataset) -> None:
    with dataset.loader() as arrays, dataset.loader(format="arrow") as batches:
        for expected, batch in zip(arrays, batches, strict=True):
            assert isinstance(batch, pa.RecordBatch)
            assert batch.column("row").to_pylist() == expected["row"].tolist()


@pytest.mark.parametrize("tail", ["drop_last", "pad", "uneven"])
@pytest.mark.parametrize("shuffle", ["none", "window", "full"])
def test_ragged_columns_have_the_rows_of_the_others(tail: str, shuffle: str) -> None:
    first, batches = 0, []
    for rows in (30, 17, 25, 40, 8, 33):
        numbers = list(range(first, first + rows))
        texts = pa.array([None if number % 7 == 0 else f"text {number}" * (number % 3) for number in numbers])
        batches.append(pa.record_batch([pa.array(numbers), texts], ["row", "text"]))
        first += rows
    dataset = MemoryDataset(batches)
    options: dict[str, Any] = {"tail": tail, "shuffle": shuffle, "window_chunks": 2, "lanes": 4, "format": "arrow"}
    with dataset.loader(20, **options) as loader, dataset.loader(20, columns=["row"], **options) as plain:
        for _ in range(2):
            for batch, expected in zip(loader, plain, strict=True):
                numbers = batch.column("row").to_pylist()
                assert numbers == expected.column("row").to_pylist()
                assert batch.column("text").to_pylist() == [
                    None if number % 7 == 0 else f"text {number}" * (number % 3) for number in numbers
                ]
        state = loader.state_at(7)
        loader.load_state_dict(state)
        plain.load_state_dict(state)
        for batch, expected in zip(loader, plain, strict=True):
            assert batch.column("row").to_pylist() == expected.column("row").to_pylist()


def test_nulls_are_refused_at_construction_with_their_number() -> None:
    batches = [pa.record_batch([pa.array([1, None, 3, None] * 4, pa.int32())], ["n"])] * 3
    with pytest.raises(UsageError, match="'n' of type int32 holds 24 nulls"):
        MemoryDataset(batches).loader(8, lanes=1)
    with MemoryDataset(batches).loader(8, lanes=1, nulls={"n": -1}) as loader:
        assert sorted(value for batch in loader for value in batch["n"].tolist()) == sorted([1, -1, 3, -1] * 12)


def test_tails_are_counted_the_same_for_every_world() -> None:
    dataset = numbered([100] * 5 + [37])
    for tail, dropped, padded, batches in (("drop_last", 25, 0, 16), ("pad", 0, 7, 17), ("uneven", 0, 0, 17)):
        for world in (1, 2, 4):
            loaders = [dataset.loader(32, tail=tail, rank=rank, world_size=world) for rank in range(world)]
            epochs = [epoch_rows(loader) for loader in loaders]
            assert {len(epoch) for epoch in epochs} == {batches}
            assert {(loader.dropped_rows, loader.padded_rows) for loader in loaders} == {(dropped, padded)}
            rows = [row for epoch in epochs for batch in epoch for row in batch]
            assert len(set(rows)) == 537 - dropped
            assert len(rows) - len(set(rows)) == padded
            for loader in loaders:
                loader.close()


def slow(source: MemorySource) -> None:
    source.delays_s = {chunk: 0.02 * (chunk % 3) for chunk in range(12)}


def test_slow_chunks_change_no_batch(dataset: MemoryDataset) -> None:
    with dataset.loader() as loader:
        expected = epoch_rows(loader)
    dataset.prepare = slow
    with dataset.loader() as loader:
        assert epoch_rows(loader) == expected


def fail(source: MemorySource) -> None:
    source.failing = {7: StoreTimeoutError("no response within the deadline", hint="see millrace doctor")}


def test_an_unreadable_chunk_is_an_error_at_the_batch_that_needs_it(dataset: MemoryDataset) -> None:
    with dataset.loader(shuffle="none", lanes=1, columns=["row"]) as loader:
        expected = [batch["row"].tolist() for batch in loader]
    dataset.prepare = fail
    with dataset.loader(shuffle="none", lanes=1, columns=["row"]) as loader:
        batches = iter(loader)
        assert [batch["row"].tolist() for batch in islice(batches, 8)] == expected[:8]
        with pytest.raises(StoreTimeoutError) as caught:
            next(batches)  # chunk 7 has the rows from 280 on
        error = caught.value
        assert str(error).startswith(
            "flights@12-3fa9c1: step 8 of epoch 0 needs chunk flights/000000000000/0/7: no resp"
        )
        assert error.hint == "see millrace doctor"
        assert (error.context["version"], error.context["step"]) == ("12-3fa9c1", 8)
        assert error.context["chunk"] == "flights/000000000000/0/7"
        with pytest.raises(StopIteration):
            next(batches)
        assert loader.state_dict()["rows"] == 256


def test_a_shuffled_window_with_an_unreadable_chunk_gives_the_batches_before_the_one_that_needs_it() -> None:
    dataset = numbered([200] * 8)

    def delivered(seed: int) -> list[list[int]]:
        """Return the batches before the first error."""
        batches = []
        with dataset.loader(4, lanes=1, window_chunks=8, seed=seed) as loader, suppress(StoreTimeoutError):
            for batch in loader:
                batches.append(rows_of(batch))
        return batches

    whole = [delivered(seed) for seed in range(8)]
    dataset.prepare = fail
    for seed, expected in enumerate(whole):
        needed = next(number for number, rows in enumerate(expected) if any(1400 <= row < 1600 for row in rows))
        assert delivered(seed) == expected[:needed]
        assert len(expected) == 400


def test_a_loader_goes_on_after_an_error_that_has_ended(dataset: MemoryDataset) -> None:
    with dataset.loader() as loader:
        expected = epoch_rows(loader)
    dataset.prepare = fail
    with dataset.loader() as loader:
        delivered = []
        with suppress(StoreTimeoutError):
            for batch in loader:
                delivered.append(rows_of(batch))
        assert len(delivered) < 15
        dataset.source.failing = {}
        assert delivered + epoch_rows(loader) == expected


def test_a_loader_goes_on_after_an_interrupt_while_it_starts_to_read(dataset: MemoryDataset) -> None:
    with dataset.loader(window_chunks=1) as loader:
        expected = epoch_rows(loader)
    with dataset.loader(window_chunks=1) as loader:
        batches = iter(loader)
        delivered = [rows_of(next(batches))]
        assert loader._opened is not None
        assert loader._opened._reading is not None
        pool = loader._opened._reading._pool
        submit, calls = pool.submit, []

        def interrupted(*arguments: Any) -> Any:
            calls.append(arguments)
            if len(calls) == 3:
                raise KeyboardInterrupt
            return submit(*arguments)

        with patch.object(pool, "submit", interrupted), suppress(KeyboardInterrupt):
            for batch in batches:
                delivered.append(rows_of(batch))
        assert len(calls) == 3
        assert delivered + epoch_rows(loader) == expected


def test_an_unexpected_error_of_a_chunk_names_the_step_too(dataset: MemoryDataset) -> None:
    def damage(source: MemorySource) -> None:
        source.failing = {3: ValueError("broken")}

    dataset.prepare = damage
    with dataset.loader() as loader, pytest.raises(ChunkError, match=r"step \d+ of epoch 0 needs .*ValueError: broken"):
        list(loader)


def test_a_source_that_never_answers_is_an_error_after_the_deadline(dataset: MemoryDataset) -> None:
    gate = threading.Event()

    def block(source: MemorySource) -> None:
        source.gate = gate

    dataset.prepare = block
    opened = OpenedLoader(dataset.opened, LoaderOptions(global_batch_rows=32), threads=2, job="j", stalled_s=0.05)
    try:
        for _ in range(2):
            _, batches = opened.begin(0, 0)
            with pytest.raises(StoreTimeoutError, match=r"flights@12-3fa9c1: no chunk was read for 0.05 s"):
                next(batches)
    finally:
        gate.set()
        opened.close()


def test_closing_in_the_middle_leaves_no_thread_and_no_lease(dataset: MemoryDataset) -> None:
    dataset.prepare = slow
    loader = dataset.loader()
    batches = iter(loader)
    next(batches)
    assert threads()
    assert (dataset.leases, dataset.leases_taken) == (1, 1)
    loader.close()
    assert threads() == set()
    assert dataset.leases == 0
    with pytest.raises(StopIteration):
        next(batches)
    loader.close()


def test_a_closed_loader_goes_on_where_it_was(dataset: MemoryDataset) -> None:
    with dataset.loader() as other:
        whole = epoch_rows(other)
    loader = dataset.loader()
    begun = [rows_of(batch) for batch in islice(loader, 5)]
    loader.close()
    assert loader.state_dict()["rows"] == 20
    with loader:
        assert begun + epoch_rows(loader) == whole


def test_the_lease_is_held_from_the_first_batch_to_the_close(dataset: MemoryDataset) -> None:
    with dataset.loader() as loader:
        assert dataset.leases == 0
        list(loader)
        assert (dataset.leases, dataset.leases_taken) == (1, 1)
        list(loader)
    assert (dataset.leases, dataset.leases_taken) == (0, 2)


def test_abandoned_loaders_and_iterators_are_collected_with_their_threads(dataset: MemoryDataset) -> None:
    dataset.prepare = slow
    for _ in range(5):
        next(iter(dataset.loader()))
        batches = iter(dataset.loader(transform=dict))
        next(batches)
        del batches
    gc.collect()
    eventually(lambda: not threads())
    eventually(lambda: dataset.leases == 0)


def test_the_collection_of_a_loader_in_a_thread_of_another_does_not_deadlock(dataset: MemoryDataset) -> None:
    dataset.prepare = slow

    class Cycle:
        """An object that only the garbage collector frees, in whatever thread it runs."""

        def __init__(self) -> None:
            self.itself = self
            self.batches = iter(dataset.loader(transform=dict))
            next(self.batches)

    thresholds = gc.get_threshold()
    gc.set_threshold(1)
    try:
        with dataset.loader(transform=dict) as loader:
            for _ in range(3):
                Cycle()
                assert len(list(loader)) == 15
    finally:
        gc.set_threshold(*thresholds)
    gc.collect()
    eventually(lambda: not threads())


def test_a_new_iteration_ends_the_one_before(dataset: MemoryDataset) -> None:
    with dataset.loader() as loader, dataset.loader() as other:
        whole = epoch_rows(other)
        first = iter(loader)
        assert rows_of(next(first)) == whole[0]
        second = iter(loader)
        assert rows_of(next(second)) == whole[1]
        with pytest.raises(StopIteration):
            next(first)
        assert rows_of(next(second)) == whole[2]


def test_an_iterator_is_for_one_consumer(dataset: MemoryDataset) -> None:
    gate = threading.Event()

    def block(source: MemorySource) -> None:
        source.gate = gate

    dataset.prepare = block
    with dataset.loader() as loader:
        batches = iter(loader)
        waiting = threading.Thread(target=lambda: next(batches))
        waiting.start()
        eventually(lambda: batches._turn.locked())
        for use in (lambda: next(batches), lambda: iter(loader)):
            with pytest.raises(UsageError, match="another thread is waiting for a batch of this iterator"):
                use()
        gate.set()
        waiting.join()
        assert len(list(batches)) == 14


def test_the_next_batch_takes_some_microseconds_of_python(dataset: MemoryDataset) -> None:
    dataset = numbered([2000] * 8)
    with dataset.loader(16, window_chunks=1) as loader:
        batches = iter(loader)
        next(batches)
        eventually(lambda: dataset.source.stats.cassandra >= 8)
        time.sleep(0.05)
        began = time.thread_time()
        for _ in range(500):
            next(batches)
        assert (time.thread_time() - began) / 500 < 200e-6


def test_facts_describe_the_position_of_the_rank(dataset: MemoryDataset) -> None:
    with dataset.loader(rank=1, world_size=2) as loader:
        before = loader.facts()
        assert (before.epoch, before.step, before.steps, before.rows, before.total_rows) == (0, 0, 15, 0, 240)
        assert (before.dataset, before.rank, before.world_size) == ("flights", 1, 2)
        steps = []
        for _ in loader:
            facts = loader.facts()
            steps.append((facts.epoch, facts.step, facts.rows))
        assert steps == [(0, step, step * 16) for step in range(1, 16)]
        assert loader.facts().waits.count == 15
        assert facts.tiers["cassandra"] > 0
        assert facts.prefetch_bytes == loader.prefetch_bytes
        loader.load_state_dict(loader.state_at(4))
        assert loader.facts().step == 4
        next(iter(loader))
        assert loader.facts().step == 5


def test_batches_are_contiguous_views_without_a_copy(dataset: MemoryDataset) -> None:
    with dataset.loader() as loader:
        batches = iter(loader)
        first = next(batches)
        assert first["x"].flags.c_contiguous
        assert first["x"].shape == (32, 3)
        assert not first["x"].flags.owndata


def test_a_loader_whose_dataset_cannot_be_opened_leaves_nothing_open(dataset: MemoryDataset) -> None:
    before = threads()
    with pytest.raises(UsageError):
        dataset.loader(columns=["nothing"])
    assert threads() == before
    assert dataset.leases == 0
