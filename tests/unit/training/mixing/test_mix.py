"""Mixtures of real loaders over datasets in memory, and the refusal of loaders that do not fit together."""

from __future__ import annotations

import pickle
import weakref
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from millrace.errors import UsageError
from millrace.training import LoaderOptions, Mixture, TrainingLoader, mix
from tests.unit.training.in_memory import MemoryDataset, numbered

CHUNKS = {"large@1-aaaaaa": [60, 45, 80, 50, 70, 64, 33, 90], "small@1-bbbbbb": [40, 30, 50, 20]}
SMALL_ROWS = 140


@pytest.fixture
def closing() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def opened(reference: str) -> AbstractContextManager[Any]:
    """Open a dataset, as an opener that can be pickled."""
    return numbered(CHUNKS[reference], reference=reference).opened()


def loaders(closing: ExitStack, batch: int = 32, **options: Any) -> list[TrainingLoader]:
    """Return a loader of each dataset."""
    datasets = [numbered(rows, reference=reference) for reference, rows in CHUNKS.items()]
    return [closing.enter_context(dataset.loader(batch, **{"lanes": 4, **options})) for dataset in datasets]


def mixture(closing: ExitStack, batch: int = 32, *, stop: str = "first", **options: Any) -> Mixture:
    large, small = loaders(closing, batch, **options)
    return closing.enter_context(mix({large: 0.7, small: 0.3}, stop=stop))


def rows_of(batches: Any) -> list[list[int]]:
    """Return the rows of each batch, after checking that all columns belong together."""
    rows = []
    for batch in batches:
        assert np.array_equal(batch["x"][:, 0], batch["row"].astype(np.float32))
        rows.append(batch["row"].tolist())
    return rows


@pytest.mark.parametrize("stop", ["first", "all"])
def test_every_world_has_the_same_batches_in_every_epoch(closing: ExitStack, stop: str) -> None:
    one = mixture(closing, stop=stop)
    expected = [rows_of(one) for _ in range(3)]
    for world in (2, 4):
        ranks = [mixture(closing, stop=stop, rank=rank, world_size=world) for rank in range(world)]
        for epoch in expected:
            parts = zip(*(rows_of(rank) for rank in ranks), strict=True)
            assert [[row for part in batch for row in part] for batch in parts] == epoch


@pytest.mark.parametrize("stop", ["first", "all"])
@pytest.mark.parametrize("batches", [0, 3, 5])
def test_a_state_restores_another_world(closing: ExitStack, stop: str, batches: int) -> None:
    stopped = mixture(closing, stop=stop, rank=1, world_size=2)
    expected = [rows_of(mixture(closing, stop=stop)), []]
    expected[1] = rows_of(epoch_of(mixture(closing, stop=stop), 1))
    for _ in zip(range(batches), stopped, strict=False):
        pass
    resumed = mixture(closing, stop=stop)
    resumed.load_state_dict(stopped.state_dict())
    assert rows_of(resumed) == expected[0][batches:]
    assert rows_of(resumed) == expected[1]


def epoch_of(each: Mixture, epoch: int) -> Mixture:
    each.set_epoch(epoch)
    return each


def test_twice_the_batch_goes_on_at_the_same_rows(closing: ExitStack) -> None:
    stopped = mixture(closing, stop="all")
    first = rows_of(batch for _, batch in zip(range(3), stopped, strict=False))
    resumed = mixture(closing, 64, stop="all")
    resumed.load_state_dict(stopped.state_dict())
    rest = rows_of(resumed)
    assert {len(batch) for batch in rest} == {64}
    delivered = Counter(row for batch in first + rest for row in batch)
    large_rows = sum(CHUNKS["large@1-aaaaaa"])
    assert sum(row < large_rows for row in delivered) >= large_rows - 3


def test_a_batch_that_is_kept_never_changes(closing: ExitStack) -> None:
    each = mixture(closing, stop="all", prefetch_bytes=None)
    kept = list(each)
    assert rows_of(kept) == rows_of(epoch_of(each, 0))


def test_chunks_are_read_once_in_an_epoch_that_uses_them_up(closing: ExitStack) -> None:
    dataset = numbered(CHUNKS["small@1-bbbbbb"], reference="small@1-bbbbbb")
    each = closing.enter_context(mix({dataset.loader(4, lanes=1): 1}))
    assert len(rows_of(each)) == SMALL_ROWS // 4
    each.close()
    assert set(dataset.source.borrowed) == set(range(4))


def test_arrow_batches_are_joined_with_text(closing: ExitStack) -> None:
    datasets = [
        MemoryDataset([pa.record_batch({"n": range(50), "s": [f"{name}{row}" for row in range(50)]})], reference=name)
        for name in ("a@1-aaaaaa", "b@1-bbbbbb")
    ]
    a, b = (closing.enter_context(each.loader(8, lanes=2, format="arrow")) for each in datasets)
    each = closing.enter_context(mix({a: 1, b: 1}))
    batches = list(each)
    assert {batch.num_rows for batch in batches} == {8}
    assert all(isinstance(batch, pa.RecordBatch) for batch in batches)
    text = [value for batch in batches for value in batch["s"].to_pylist()]
    assert len(set(text)) == len(text)
    assert [value.removeprefix("a@1-aaaaaa").removeprefix("b@1-bbbbbb") for value in text] == [
        str(number) for batch in batches for number in batch["n"].to_pylist()
    ]


def test_a_mixture_survives_pickling_at_its_position(closing: ExitStack) -> None:
    large, small = (
        closing.enter_context(TrainingLoader(partial(opened, reference), LoaderOptions(global_batch_rows=32, lanes=4)))
        for reference in CHUNKS
    )
    each = closing.enter_context(mix({large: 0.7, small: 0.3}))
    iteration = iter(each)
    next(iteration)
    copy = closing.enter_context(pickle.loads(pickle.dumps(each)))
    assert rows_of(copy) == rows_of(iteration)


def test_closing_a_mixture_releases_every_lease(closing: ExitStack) -> None:
    datasets = [numbered(rows, reference=reference) for reference, rows in CHUNKS.items()]
    large, small = (closing.enter_context(dataset.loader(32, lanes=4)) for dataset in datasets)
    with mix({large: 1, small: 1}) as each:
        next(iter(each))
        assert [dataset.leases for dataset in datasets] == [1, 1]
    assert [dataset.leases for dataset in datasets] == [0, 0]
    assert next(iter(large))["row"].shape == (32,)


def test_a_mixture_that_was_dropped_leaves_no_iteration(closing: ExitStack) -> None:
    each = mixture(closing)
    iteration = iter(each)
    next(iteration)
    reference = weakref.ref(iteration)
    del iteration
    assert reference() is None
    each.set_epoch(3)
    assert each.epoch == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"global_batch_rows": 64}, "large@1-aaaaaa has global_batch_rows 32, but small@1-bbbbbb has 64"),
        ({"rank": 1, "world_size": 2}, "large@1-aaaaaa has rank 0, but small@1-bbbbbb has 1"),
        ({"format": "arrow"}, "large@1-aaaaaa has format 'numpy', but small@1-bbbbbb has 'arrow'"),
        ({"transform": dict}, "the loader of small@1-bbbbbb has a transform"),
        ({"tail": "pad"}, "the loader of small@1-bbbbbb has tail 'pad'"),
        ({"columns": ["x"]}, r"large@1-aaaaaa has the columns row int32, x .*, but small@1-bbbbbb has x "),
    ],
)
def test_loaders_that_do_not_fit_together_are_refused(
    closing: ExitStack, options: Mapping[str, Any], message: str
) -> None:
    first, second = loaders(closing)
    with pytest.raises(UsageError, match=message):
        mix({first: 1, second.with_options(**options): 1})


@pytest.mark.parametrize(
    ("weight", "stop", "message"),
    [
        (0, "first", "the weight 0 is not a number above 0"),
        (1, "last", "stop='last' does not exist: use 'first' or 'all'"),
    ],
)
def test_wrong_weights_and_stops_are_refused(closing: ExitStack, weight: float, stop: str, message: str) -> None:
    first, second = loaders(closing)
    with pytest.raises(UsageError, match=message):
        mix({first: 1, second: weight}, stop=stop)


def test_a_mixture_of_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="a mixture needs a loader"):
        mix({})
