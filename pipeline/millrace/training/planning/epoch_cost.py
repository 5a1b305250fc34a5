"""Tell before a job starts how an epoch will read its chunks: from where, in how much memory, how soon."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from millrace.cache import Form, value_cost_bytes
from millrace.dataset import Dataset
from millrace.store import ChunkRef
from millrace.training.options import LoaderOptions
from millrace.training.order import Order
from millrace.training.planning.first_batch import first_batch_s
from millrace.training.planning.shuffle_quality import shuffle_quality
from millrace.training.prepared import loader_source, prepare, split_manifest
from millrace.training.reader import read_threads

ValueCost = Callable[[int], int]


@dataclass(frozen=True, slots=True)
class EpochCost:
    """The cost of one epoch of all ranks; ``memory_bytes`` are those of each rank, sizes are in bytes.

    ``chunk_reads`` counts a chunk twice if two lanes share it. ``hit_ratio`` is the share of these reads that Redis
    answers. ``first_batch_s`` was measured by reading the first batch of rank 0, so it depends on what the cache
    holds now. ``shuffle_quality`` is 1.0 for a full shuffle, see ``shuffle_quality``; None for no shuffle.
    """

    reference: str
    split: str | None
    rows: int
    chunks: int
    batches: int
    global_batch_rows: int
    lanes: int
    world_size: int
    window_chunks: int
    dropped_rows: int
    padded_rows: int
    chunk_reads: int
    cache_bytes: int
    form: str
    cached_chunks: int
    hit_ratio: float
    cassandra_bytes: int
    memory_bytes: int
    first_batch_s: float
    shuffle_quality: float | None

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON-compatible values."""
        return asdict(self)


def epoch_cost(
    dataset: Dataset,
    options: LoaderOptions,
    *,
    world_size: int,
    cache_bytes: int,
    form: Form,
    value_cost: ValueCost = value_cost_bytes,
) -> EpochCost:
    """Return the cost of an epoch with ``cache_bytes`` of Redis for this dataset, in the given form.

    ``value_cost`` returns the memory of Redis that a value of some bytes takes.
    Reads the manifest, and the first batch up to 5 times to measure the time to it. Raises ``UsageError`` for options
    that a loader refuses.
    """
    rank_options = replace(options, rank=0, world_size=world_size)
    prepared = prepare(dataset, rank_options, threads=read_threads())
    order, plan = prepared.plan.order, prepared.outline.batch_plan()
    reads = _reads_of_chunks(order)
    stored, memory = _chunk_sizes(dataset, options, prepared.columns, form, value_cost)
    cached = int(np.searchsorted(np.cumsum(memory), cache_bytes, side="right"))
    return EpochCost(
        reference=dataset.version.reference,
        split=options.split,
        rows=order.rows,
        chunks=len(reads),
        batches=plan.batches,
        global_batch_rows=options.global_batch_rows,
        lanes=options.lanes,
        world_size=world_size,
        window_chunks=order.spec.window_chunks,
        dropped_rows=plan.dropped_rows,
        padded_rows=plan.padded_rows,
        chunk_reads=int(reads.sum()),
        cache_bytes=cache_bytes,
        form=str(form),
        cached_chunks=cached,
        hit_ratio=float(reads[:cached].sum() / reads.sum()),
        cassandra_bytes=int((reads * stored)[cached:].sum()),
        memory_bytes=prepared.outline.prefetch_bytes + options.cache_bytes,
        first_batch_s=first_batch_s(dataset, rank_options, prepared),
        shuffle_quality=shuffle_quality(order, plan),
    )


def _reads_of_chunks(order: Order) -> NDArray[np.int64]:
    """Return how often an epoch reads each chunk of the split: once, and once more for each lane border in it."""
    lanes = [order.lane_chunks(lane) for lane in range(order.spec.lanes)]
    reads: NDArray[np.int64] = np.bincount(np.concatenate(lanes), minlength=len(order.chunk_starts))
    return reads


def _chunk_sizes(
    dataset: Dataset, options: LoaderOptions, columns: Sequence[str] | None, form: Form, value_cost: ValueCost
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return for each chunk the stored bytes of the tiles that are read, and the memory of Redis that they take."""
    decoder = loader_source(dataset, columns).decoder
    refs = split_manifest(dataset, options).each_ref()
    sizes = [(decoder.stored_bytes(ref), _redis_bytes(ref, decoder.tiles_of(ref), form, value_cost)) for ref in refs]
    stored, memory = np.array(sizes, np.int64).reshape(-1, 2).T
    return stored, memory


def _redis_bytes(ref: ChunkRef, tiles: Sequence[int], form: Form, value_cost: ValueCost) -> int:
    if form is Form.STORED:
        return value_cost(ref.stored_bytes)
    return sum(value_cost(ref.tiles[tile].raw_bytes) for tile in tiles)
