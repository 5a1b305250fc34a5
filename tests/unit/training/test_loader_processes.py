"""Loaders in other processes: pickled, forked and spawned, before and while the first process iterates."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pytest

from millrace.training.loader import TrainingLoader
from millrace.training.options import LoaderOptions
from millrace.training.reader.reading import close_all
from tests.unit.training.in_memory import MemoryDataset, epoch_rows, numbered, rows_of

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")


@dataclass(frozen=True)
class NumberedOpener:
    """Open a dataset anew in each process."""

    chunk_rows: tuple[int, ...]

    @contextmanager
    def __call__(self) -> Iterator[MemoryDataset]:
        yield numbered(self.chunk_rows)


def new_loader(chunk_rows: tuple[int, ...] = (40,) * 12, **options: Any) -> TrainingLoader:
    return TrainingLoader(NumberedOpener(chunk_rows), LoaderOptions(global_batch_rows=32, **options))


def doubled(batch: dict[str, Any]) -> dict[str, Any]:
    return {"row": batch["row"] * 2}


def read(loader: TrainingLoader, batches: int | None, results: Any) -> None:
    results.put(([rows_of(batch) for batch in islice(loader, batches)], loader.state_dict()))
    loader.close()


def in_process(method: str, loader: TrainingLoader, batches: int | None = None) -> Any:
    context = multiprocessing.get_context(method)
    results = context.SimpleQueue()
    process = context.Process(target=read, args=(loader, batches, results))
    process.start()
    result = results.get()
    process.join(30)
    assert process.exitcode == 0
    return result


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_another_process_delivers_the_same_batches(method: str) -> None:
    with new_loader() as loader:
        rows, state = in_process(method, loader)
        assert rows == epoch_rows(loader)
        assert state == loader.state_dict()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_another_process_goes_on_where_this_one_is_and_does_not_disturb_it(method: str) -> None:
    with new_loader() as loader, new_loader() as other:
        whole = epoch_rows(other)
        batches = iter(loader)
        assert [rows_of(next(batches)) for _ in range(4)] == whole[:4]
        rows, _ = in_process(method, loader, 5)
        assert rows == whole[4:9]
        assert [rows_of(batch) for batch in batches] == whole[4:]


@pytest.mark.parametrize("make", [lambda loader: loader, lambda loader: pickle.loads(pickle.dumps(loader))])
def test_a_forked_process_may_load_a_state(make: Callable[[TrainingLoader], TrainingLoader]) -> None:
    with new_loader() as loader:
        next(iter(loader))
        loader.load_state_dict(loader.state_at(2))
        rows, state = in_process("fork", make(loader), 1)
        assert len(rows) == 1
        assert state == loader.state_at(1)


def test_a_pickled_loader_has_the_position_and_answers_without_opening_anything() -> None:
    with new_loader() as loader:
        list(islice(loader, 7))
        copy = pickle.loads(pickle.dumps(loader))
        assert copy._opened is None
        assert copy.state_dict() == loader.state_dict()
        assert (len(copy), copy.prefetch_bytes, copy.epoch) == (8, loader.prefetch_bytes, 0)
        assert copy.state_at(3)["rows"] == 12
        assert copy.facts().step == 7
        assert copy._opened is None
        with copy:
            assert epoch_rows(copy) == epoch_rows(loader)


def test_a_pickled_loader_is_small_whatever_the_dataset() -> None:
    with new_loader((1,) * 3000, nulls={"row": 0}, transform=doubled) as loader:
        next(iter(loader))
        assert len(pickle.dumps(loader)) < 10_000


def test_rank_and_world_size_stay_those_of_the_process_that_made_the_loader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with new_loader() as loader:
        assert (loader.rank, loader.world_size) == (1, 2)
        expected = epoch_rows(loader)
        monkeypatch.setenv("RANK", "0")
        loader.set_epoch(0)
        with pickle.loads(pickle.dumps(loader)) as copy:
            assert epoch_rows(copy) == expected


def test_a_forked_process_ends_at_once_without_closing_what_it_inherited() -> None:
    with new_loader() as loader:
        next(iter(loader))
        child = os.fork()
        if not child:
            close_all()  # as at the end of the process
            os._exit(0)
        deadline = time.monotonic() + 20
        while (ended := os.waitpid(child, os.WNOHANG))[0] == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert ended == (child, 0)
        assert len(list(loader)) == 14
