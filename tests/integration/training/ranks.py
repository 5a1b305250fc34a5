"""The ranks of a training job, in this process and in others: what they deliver, put together to global batches."""

from __future__ import annotations

import hashlib
import pickle
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from millrace.api import Store
from millrace.training import TrainingLoader

Batch = dict[str, npt.NDArray[Any]]
Batches = list[Batch]
LANES, BATCH_ROWS = 4, 640
OPTIONS: dict[str, Any] = {
    "global_batch_rows": BATCH_ROWS,
    "seed": 7,
    "lanes": LANES,
    "window_chunks": 2,
    "tail": "uneven",
}


def numbered_table(rows: int, first: int = 0) -> pa.Table:
    """Return rows with their number, and a list of eight floats that are multiples of it."""
    numbers = np.arange(first, first + rows)
    x = (numbers[:, None] * np.arange(1, 9)).astype(np.float32)
    return pa.table({"row": numbers, "x": pa.FixedSizeListArray.from_arrays(pa.array(x.ravel()), 8)})


def rank_loaders(store: Store, reference: str, world: int, **options: Any) -> list[TrainingLoader]:
    dataset = store.dataset(reference)
    return [dataset.training(rank=rank, world_size=world, **OPTIONS | options) for rank in range(world)]


def read_ranks(
    store: Store, reference: str, world: int, on_batch: Callable[[int, Sequence[TrainingLoader]], None] | None = None
) -> list[Batches]:
    """Return the epoch of each rank, all of which are in this process and in step.

    ``on_batch`` is called after each batch, with its number and the loaders.
    """
    with ExitStack() as closing:
        loaders = [closing.enter_context(loader) for loader in rank_loaders(store, reference, world)]
        parts = []
        for number, batches in enumerate(zip(*loaders, strict=True)):
            parts.append(batches)
            if on_batch is not None:
                on_batch(number, loaders)
        return [list(batches) for batches in zip(*parts, strict=True)]


def global_batches(ranks: Sequence[Batches]) -> Batches:
    """Return the batches of all ranks together, rank after rank."""
    return [
        {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        for parts in zip(*ranks, strict=True)
    ]


def hash_of(batches: Batches) -> str:
    """Return one hash of the bytes of all batches."""
    digest = hashlib.sha256()
    for batch in batches:
        for name in sorted(batch):
            digest.update(f"{name} {batch[name].dtype} {batch[name].shape}".encode())
            digest.update(batch[name].tobytes())
    return digest.hexdigest()


def write_epoch(loader: TrainingLoader, path: Path) -> None:
    """Write the batches of an epoch to a file."""
    with loader, path.open("wb") as file:
        for batch in loader:
            pickle.dump(batch, file)


def write_and_wait(loader: TrainingLoader, path: Path, batches: int) -> None:
    """Write some batches, each with the state after it; then fill the memory of the loader and wait to be killed."""
    iterator = iter(loader)
    with path.open("wb") as file:
        for batch in islice(iterator, batches):
            pickle.dump((batch, loader.state_dict()), file)
    path.with_suffix(".chunks").write_text(str(chunks_when_full(loader)))
    time.sleep(600)


def read_file(path: Path) -> Iterator[Any]:
    with path.open("rb") as file:
        while True:
            try:
                yield pickle.load(file)
            except EOFError:
                return


def chunks_when_full(loader: TrainingLoader) -> int:
    """Return the chunks that were read, once there are no more for half a second."""
    before = -1
    while (chunks := sum(loader.facts().tiers.values())) != before:
        before = chunks
        time.sleep(0.5)
    return chunks
