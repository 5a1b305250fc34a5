"""The shares of the workers of a ``DataLoader``: together they are all batches, and each can be restored."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.errors import UsageError
from millrace.training.formats.worker_place import WorkerPlace, split_state


class Batches:
    """Numbered batches that are counted, and can be closed."""

    def __init__(self, first: int, stop: int) -> None:
        self._numbers = iter(range(first, stop))
        self.consumed = first
        self.is_closed = False

    def __iter__(self) -> Batches:
        return self

    def __next__(self) -> int:
        number = next(self._numbers)
        self.consumed += 1
        return number

    def close(self) -> None:
        self.is_closed = True


def begun(worker: int, workers: int) -> WorkerPlace:
    return WorkerPlace(worker, workers, epoch=3, skip=worker)


@given(st.integers(1, 5), st.integers(0, 40))
def test_worker_j_of_n_delivers_the_batches_j_and_every_nth_after_it(workers: int, batches: int) -> None:
    for worker in range(workers):
        share = list(begun(worker, workers).share(Batches(0, batches)))
        assert share == list(range(worker, batches, workers))


@given(st.integers(1, 5), st.integers(0, 40), st.integers(0, 40))
def test_a_worker_goes_on_after_its_last_batch(workers: int, batches: int, stop: int) -> None:
    for worker in range(workers):
        source, place = Batches(0, batches), begun(worker, workers)
        share = place.share(source)
        before = [number for _, number in zip(range(stop), share, strict=False)]
        epoch = 4 if source.consumed == batches and before else 3  # a loader that has given its last batch goes on
        state = {"epoch": epoch, "rows": 0 if epoch == 4 else source.consumed, **place.to_json(epoch)}
        position, restored = split_state(state, worker, workers)
        assert position == {"epoch": epoch, "rows": state["rows"]}
        after = [] if restored.is_over else list(restored.share(Batches(source.consumed, batches)))
        assert before + after == list(range(worker, batches, workers))


def test_a_share_that_is_left_closes_the_iteration() -> None:
    source = Batches(0, 9)
    share: Generator[Any, None, None] = begun(1, 2).share(source)
    assert next(share) == 1
    share.close()
    assert source.is_closed


@pytest.mark.parametrize(
    ("state", "source"),
    [
        ({"epoch": 0, "worker": [0, 2, 1]}, "worker 0 of 2"),
        ({"epoch": 0, "worker": [1, 4, 1]}, "worker 1 of 4"),
        ({"epoch": 0}, "a loader without workers"),
    ],
)
def test_the_state_of_another_worker_is_refused(state: dict[str, Any], source: str) -> None:
    with pytest.raises(UsageError, match=f"state of {source} does not fit worker 1 of 2: .*state_at"):
        split_state(state, 1, 2)
