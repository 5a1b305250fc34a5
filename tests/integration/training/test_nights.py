"""Nights of loads, preparations and trainings with ``keep`` leave the store at a level size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from uuid import uuid4

import pytest

from local_stack.stack import Stack
from millrace.api import Store
from millrace.settings import load_settings
from millrace.training import TrainedModel, TrainingJob
from tests.integration.training.small_preparation import load_inputs, preparation_of, prepare

ROWS = 2_000
TABLES = ("attempts", "pages", "tags")


@pytest.fixture
def store(stack: Stack) -> Iterator[Store]:
    """Connect a store on a keyspace of its own, whose tables are read whole. Finished loads delay no sweep."""
    made = load_settings(cassandra={"keyspace": f"test_{uuid4().hex[:12]}"})
    Store.init(made)
    with Store.connect(made) as opened:
        opened.alive = timedelta(0)
        yield opened
        opened.cassandra.session.execute(f"DROP KEYSPACE {made.cassandra.keyspace}", timeout=120)


def train(job: TrainingJob) -> TrainedModel:
    """Return a model that is better than the one before in every fifth night."""
    with job.loader("train", global_batch_rows=64) as loader:
        rows = sum(len(batch["target"]) for batch in loader)
    night = int(job.dataset.version.run.rpartition("-")[2])
    return TrainedModel({"val_score": float(night // 5)}, {"rows.txt": str(rows).encode()})


def sizes(store: Store, names: list[str]) -> Counter[str]:
    """Return the rows of each table, the chunks, and the bytes of the visible versions of these datasets."""
    found: Counter[str] = Counter()
    keyspace = store.settings.cassandra.keyspace
    for table in TABLES:
        rows = store.cassandra.session.execute(f"SELECT dataset FROM {keyspace}.{table} ALLOW FILTERING")
        found[table] += sum(row.dataset in names for row in rows)
    chunks = store.cassandra.session.execute(f"SELECT DISTINCT dataset, attempt_id, bucket FROM {keyspace}.chunks")
    found["partitions of chunks"] += sum(row.dataset in names for row in chunks)
    for name in names:
        versions = store.catalogue.versions(name)
        found["versions"] += len(versions)
        found["stored bytes"] += sum(version.stored_bytes for version in versions)
    return found


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("nights", "keep"), [(8, 2), pytest.param(30, 7, marks=pytest.mark.full)])
def test_nights_with_keep_leave_the_store_at_a_level_size(store: Store, nights: int, keep: int) -> None:
    prefix = f"nights_{uuid4().hex[:8]}"
    name = f"{prefix}_late"
    names = [f"{name}_model", name, f"{prefix}_trips", f"{prefix}_weather"]
    found = []
    for night in range(nights):
        load_inputs(store, prefix, rows=ROWS + night)
        prepared = prepare(store, preparation_of(prefix, name), run=f"night-{night}")
        assert not prepared.skipped
        assert not store.train(train, prepared.reference).skipped
        for each in names:
            store.prune(each, keep, now=True)
        found.append(sizes(store, names))
    # Of each dataset ``keep`` versions stay, and those that the model with the tag ``best`` was made from.
    assert {size["versions"] for size in found[keep + 1 :]} <= {4 * keep, 4 * (keep + 1)}
    largest = max(size["stored bytes"] / size["versions"] for size in found[: keep + 1])
    for size in found[keep + 1 :]:
        assert size["stored bytes"] <= 1.02 * largest * 4 * (keep + 1)
        assert all(size[table] <= found[keep + 1][table] * (keep + 1) / keep for table in TABLES)
        assert size["partitions of chunks"] <= found[keep + 1]["partitions of chunks"] * (keep + 1) / keep
    store.delete(names[2], whole=True, with_derived=True, now=True)
    store.delete(names[3], whole=True, now=True)
    left = sizes(store, names)
    del left["tags"]  # a removed tag keeps its row
    assert +left == Counter()
