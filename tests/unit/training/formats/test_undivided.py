"""Loaders of NumPy in a ``DataLoader``: refused where item k would not be batch k. torch itself is not needed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from millrace.errors import UsageError
from millrace.training import Mixture, TrainingLoader, mix
from tests.unit.training.in_memory import MemoryDataset, epoch_rows, numbered

Loader = TrainingLoader | Mixture


@pytest.fixture
def dataset() -> MemoryDataset:
    return numbered([40, 30, 50])


@pytest.fixture(params=["loader", "mixture"])
def loader(dataset: MemoryDataset, request: pytest.FixtureRequest) -> Loader:
    made = dataset.loader()
    return made if request.param == "loader" else mix({made: 2, dataset.loader(seed=9): 1})


@pytest.fixture
def be_a_worker(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Return a function that makes this process look like one of several workers."""

    def be_a_worker(workers: int) -> None:
        info = SimpleNamespace(id=0, num_workers=workers)
        monkeypatch.setitem(sys.modules, "torch.utils.data", SimpleNamespace(get_worker_info=lambda: info))

    return be_a_worker


def test_a_loader_as_a_list_of_items_is_refused_with_the_way_out(loader: Loader) -> None:
    with pytest.raises(UsageError, match=r"no batches by number, and only one with format='torch' .*: iterate"):
        loader[0]


def test_several_workers_that_would_each_deliver_all_batches_are_refused(
    loader: Loader, be_a_worker: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader, "_made_in", -1)
    be_a_worker(2)
    with pytest.raises(UsageError, match=r"each of the 2 workers .* all batches: use format='torch'"):
        iter(loader)


def test_a_single_worker_delivers_every_batch(
    loader: Loader, be_a_worker: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = [batch["row"].tolist() for batch in loader]
    loader.set_epoch(0)
    monkeypatch.setattr(loader, "_made_in", -1)
    be_a_worker(1)
    assert [batch["row"].tolist() for batch in loader] == expected


def test_a_loader_that_a_worker_makes_for_its_own_rank_is_read(
    dataset: MemoryDataset, be_a_worker: Callable[[int], None]
) -> None:
    expected = epoch_rows(dataset.loader())
    be_a_worker(2)
    ranks = [epoch_rows(dataset.loader(rank=worker, world_size=2)) for worker in range(2)]
    assert [first + second for first, second in zip(*ranks, strict=True)] == expected
