"""Training loaders of a store: made by a dataset, resumed from a state, sent to other processes."""

from __future__ import annotations

import json
import pickle
import time
from collections.abc import Callable
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from millrace.api import Store
from millrace.dataset import with_splits
from millrace.errors import ChunkMissingError, UsageError, VersionNotFoundError
from millrace.load import LoadOptions
from millrace.training import Mixture, TrainingLoader, mix
from tests.unit.store.fakes import FakeCassandra
from tests.unit.store.in_memory import cassandra, csv, settings, store

__all__ = ["cassandra", "csv", "settings", "store"]
Csv = Callable[..., str]


def numbers() -> pa.Table:
    """Return 40,000 numbered rows that do not compress."""
    noise = np.random.default_rng(1).integers(0, 2**62, (2, 40_000))
    return pa.table({"n": np.arange(40_000), "a": noise[0], "b": noise[1]})


@pytest.fixture
def flights(store: Store) -> Store:
    """Return the store with a dataset of many small chunks."""
    store.load("flights", numbers(), LoadOptions(chunk_bytes=65_536))
    assert store.version("flights").chunks >= 8
    return store


def rows_of(loader: TrainingLoader) -> list[list[int]]:
    return [batch["n"].tolist() for batch in loader]


def test_a_dataset_of_a_store_is_read_for_training(flights: Store) -> None:
    with flights.dataset("flights").training(global_batch_rows=1000, lanes=4, columns=["n"]) as loader:
        epochs = [rows_of(loader) for _ in range(2)]
        assert len(loader) == 40
        assert loader.facts().tiers["cassandra"] >= flights.version("flights").chunks
    for epoch in epochs:
        assert sorted(row for batch in epoch for row in batch) == list(range(40_000))
    assert epochs[0] != epochs[1]


def test_a_state_resumes_its_own_version_after_a_newer_one_came(flights: Store, csv: Csv) -> None:
    with flights.dataset("flights").training(global_batch_rows=1000, lanes=4, seed=5) as loader:
        list(islice(loader, 7))
        state = loader.state_dict()
        rest = rows_of(loader)
    flights.load("flights", csv(100))
    ranks = [flights.resume(state, global_batch_rows=1000, rank=rank, world_size=2) for rank in range(2)]
    batches = [rows_of(rank) for rank in ranks]
    assert [first + second for first, second in zip(*batches, strict=True)] == rest
    for rank in ranks:
        rank.close()


def test_a_state_of_a_deleted_version_is_refused_by_its_name(flights: Store, csv: Csv) -> None:
    state = flights.dataset("flights").training(global_batch_rows=1000).state_dict()
    reference = flights.version("flights").reference
    flights.load("flights", csv(100))
    flights.delete(reference)
    with pytest.raises(VersionNotFoundError, match=f"the state is one of {reference}, which was deleted or pruned"):
        flights.resume(state, global_batch_rows=1000)


@pytest.mark.parametrize("option", ["split", "seed", "lanes", "shuffle", "window_chunks", "tail"])
def test_an_option_that_the_state_holds_is_refused(flights: Store, option: str) -> None:
    state = flights.dataset("flights").training(global_batch_rows=1000).state_dict()
    with pytest.raises(UsageError, match=rf"resume\(\) takes {option} from the state: leave out {option}="):
        flights.resume(state, global_batch_rows=1000, **{option: 1})


def test_an_option_that_does_not_exist_is_refused(flights: Store) -> None:
    options: dict[str, Any] = {"batch_size": 100}
    with pytest.raises(TypeError, match="batch_size"):
        flights.dataset("flights").training(global_batch_rows=1000, **options)


def test_splits_are_ranges_of_chunks_in_the_schema(store: Store) -> None:
    table = numbers()
    table = table.replace_schema_metadata(with_splits(pa.schema([]), {"train": range(6), "test": range(6, 8)}).metadata)
    store.load("flights", table, LoadOptions(chunk_bytes=65_536))
    dataset = store.dataset("flights")
    rows = [ref.rows for ref in dataset.refs()]
    with pytest.raises(UsageError, match="has splits, and none is chosen"):
        dataset.training(global_batch_rows=80)
    with dataset.training(global_batch_rows=8, split="test", tail="uneven") as loader:
        assert sorted(row for batch in rows_of(loader) for row in batch) == list(range(sum(rows[:6]), sum(rows[:8])))


def test_a_chunk_on_no_node_is_an_error_with_version_chunk_and_step(flights: Store, cassandra: FakeCassandra) -> None:
    lost = list(flights.dataset("flights").refs())[3]
    for host in (cassandra.a, cassandra.b):
        host.rows["chunks"] = {key: row for key, row in host.rows["chunks"].items() if key[3] != lost.chunk}
    loader = flights.dataset("flights").training(global_batch_rows=1000, lanes=4)
    with loader, pytest.raises(ChunkMissingError) as caught:
        list(loader)
    version = flights.version("flights")
    assert str(caught.value).startswith(f"{version.reference}: step 0 of epoch 0 needs chunk {lost}: ")
    assert caught.value.context["version"] == version.label
    assert caught.value.context["step"] == 0


def test_a_loader_is_pickled_with_names_and_settings_only(flights: Store) -> None:
    with flights.dataset("flights").training(global_batch_rows=1000) as loader:
        next(iter(loader))
        text = pickle.dumps(loader)
    assert len(text) < 20_000
    copy = pickle.loads(text)
    assert copy.state_dict() == loader.state_dict()
    assert copy._opener._dataset is None
    assert copy._opener._settings == flights.settings


def test_a_loader_takes_a_lease_of_its_version(flights: Store, cassandra: FakeCassandra) -> None:
    loader = flights.dataset("flights").training(global_batch_rows=1000)
    assert not cassandra.a.rows["leases"]
    next(iter(loader))
    assert len(cassandra.a.rows["leases"]) == 1
    loader.close()


def mixed_rows(mixture: Mixture) -> list[list[int]]:
    return [[*batch["n"].tolist(), *batch["a"].tolist()] for batch in mixture]


def mixture_of(store: Store, **options: Any) -> Mixture:
    day, night = (store.dataset("flights").training(global_batch_rows=800, lanes=4, seed=seed) for seed in (1, 2))
    with day, night:
        return mix({day: 0.7, night: 0.3}, **options)


@pytest.mark.parametrize("stop", ["first", "all"])
def test_a_state_of_a_mixture_resumes_its_datasets_with_their_weights(flights: Store, csv: Csv, stop: str) -> None:
    with mixture_of(flights, stop=stop) as mixture:
        list(islice(mixture, 7))
        state = json.loads(json.dumps(mixture.state_dict()))
        rest = mixed_rows(mixture)
    flights.load("flights", csv(100))
    with flights.resume(state, global_batch_rows=800) as resumed:
        assert isinstance(resumed, Mixture)
        assert resumed.state_dict() == state
        assert mixed_rows(resumed) == rest
    halves = [flights.resume(state, global_batch_rows=800, rank=rank, world_size=2) for rank in range(2)]
    assert [sum(len(batch["n"]) for batch in half) for half in halves] == [400 * len(rest)] * 2
    for half in halves:
        half.close()


def test_a_resumed_mixture_leaves_no_lease_behind(flights: Store, cassandra: FakeCassandra) -> None:
    state = mixture_of(flights).state_dict()
    with flights.resume(state, global_batch_rows=800) as resumed:
        next(iter(resumed))
        assert len(cassandra.a.rows["leases"]) == 2
    deadline = time.monotonic() + 30
    while cassandra.a.rows["leases"] and time.monotonic() < deadline:  # they are released in the background
        time.sleep(0.01)
    assert not cassandra.a.rows["leases"]


def test_a_state_of_a_mixture_is_refused_for_an_option_that_it_holds_and_a_deleted_version(
    flights: Store, csv: Csv
) -> None:
    state = mixture_of(flights).state_dict()
    with pytest.raises(UsageError, match=r"resume\(\) takes seed from the state: leave out seed="):
        flights.resume(state, global_batch_rows=800, seed=3)
    reference = flights.version("flights").reference
    flights.load("flights", csv(100))
    flights.delete(reference)
    with pytest.raises(VersionNotFoundError, match=f"the state is one of {reference}, which was deleted or pruned"):
        flights.resume(state, global_batch_rows=800)


@pytest.mark.parametrize("weights", [[7], [7, 0], [7, 0.5], []])
def test_a_state_of_a_mixture_whose_weights_do_not_fit_is_refused(flights: Store, weights: list[Any]) -> None:
    state = mixture_of(flights).state_dict() | {"weights": weights}
    with pytest.raises(UsageError, match="this is not the state of a mixture: weights is"):
        flights.resume(state, global_batch_rows=800)
