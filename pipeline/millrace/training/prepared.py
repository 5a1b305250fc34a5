"""Everything that a loader knows of its split once the dataset is open, before any chunk is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

import pyarrow as pa

from millrace.dataset import ChunkSource, chosen_chunks, recipe_of
from millrace.errors import UsageError
from millrace.store import ChunkRef, Lease, Page, Version
from millrace.training.columns import Plan, RecipeRules, checked_normalize, plan_columns
from millrace.training.formats import Batch, batch_maker
from millrace.training.manifest import SplitManifest
from millrace.training.options import LoaderOptions
from millrace.training.order import (
    BatchPlan,
    Order,
    OrderSpec,
    Shuffle,
    Tail,
    default_window_chunks,
    lane_batch_rows,
    rank_lanes,
)
from millrace.training.outline import Outline
from millrace.training.ranks import rank_and_world_size
from millrace.training.reader import AHEAD, RankPlan, Source, budget_of, demand_of
from millrace.training.state import LoaderState

Choice = TypeVar("Choice", Shuffle, Tail)


class TrainableDataset(Protocol):
    """The part of ``Dataset`` that a loader uses."""

    version: Version

    @property
    def schema(self) -> pa.Schema:
        """The schema of the version."""

    def known_pages(self) -> Iterator[Page]:
        """Yield the manifest pages in order."""

    def chunk_source(
        self, columns: Any = None, *, decoded_bytes_max: int = 0, keeps_matrices: bool = False
    ) -> ChunkSource:
        """Return the source of single chunks."""

    def used_by(self, job: str | None) -> AbstractContextManager[Lease | None]:
        """Hold the lease of the version, and its pin in the cache."""


@dataclass(frozen=True)
class Prepared:
    """The columns, the chunks and the memory of a rank's read, which need the open dataset."""

    outline: Outline
    dataset: TrainableDataset
    source: Source
    columns: Sequence[str] | None
    """The columns of the version that batches need; None for all."""
    plan: RankPlan
    chunks: Mapping[int, ChunkRef]
    make_batch: Callable[[Mapping[str, Any]], Batch]
    threads: int
    waiting_bytes: int


def prepare(dataset: TrainableDataset, options: LoaderOptions, *, threads: int) -> Prepared:
    """Read the manifest and the schema, and check all options; raise ``UsageError`` for one that is not possible."""
    rank, world_size = rank_and_world_size(options.rank, options.world_size)
    _check_numbers(options)
    lanes = rank_lanes(rank, world_size, options.lanes)
    lane_batch_rows(options.global_batch_rows, options.lanes, world_size)
    state = LoaderState(_order_spec(dataset.version, options), _choice(Tail, "tail", options.tail))
    manifest = split_manifest(dataset, options)
    rules = _rules(dataset)
    columns = options.columns if options.columns is not None or rules is None else rules.columns()
    plans = _plans(dataset, manifest, options, columns, rules)
    order = Order(state.spec, manifest.chunk_rows())
    epoch = BatchPlan(order.rows_of_lanes, options.global_batch_rows, state.tail)
    chunks = manifest.refs({int(chunk) for lane in lanes for chunk in order.lane_chunks(lane)})
    source = loader_source(dataset, columns, decoded_bytes_max=options.cache_bytes)
    demand = demand_of(order, epoch, lanes, plans, chunks, source, ahead=AHEAD if options.transform else 0)
    budget = budget_of(demand, options.prefetch_bytes, threads)
    shape = replace(demand.shape, slots=budget.slots)
    return Prepared(
        outline=Outline(
            state, order.rows_of_lanes, options.global_batch_rows, lanes, rank, world_size, threads, budget.bytes
        ),
        dataset=dataset,
        source=source,
        columns=columns,
        plan=RankPlan(order, state.tail, options.global_batch_rows, plans, shape),
        chunks=chunks,
        make_batch=batch_maker(options.format, plans),
        threads=budget.threads,
        waiting_bytes=demand.waiting_bytes,
    )


def split_manifest(dataset: TrainableDataset, options: LoaderOptions) -> SplitManifest:
    """Return the chunks of the split; raise ``UsageError`` if the version does not have it."""
    version = dataset.version
    return SplitManifest(dataset, chosen_chunks(dataset.schema, options.split, version.chunks, version.reference))


def loader_source(
    dataset: TrainableDataset, columns: Sequence[str] | None, *, decoded_bytes_max: int = 0
) -> ChunkSource:
    """Return the source of chunks with the columns that batches need: only their tiles, and whole matrices."""
    keeps_matrices = bool(dataset.version.layout.matrices)
    return dataset.chunk_source(columns, decoded_bytes_max=decoded_bytes_max, keeps_matrices=keeps_matrices)


def _rules(dataset: TrainableDataset) -> RecipeRules | None:
    recipe = recipe_of(dataset.schema)
    return None if recipe is None else RecipeRules(recipe, dataset.schema)


def _plans(
    dataset: TrainableDataset,
    manifest: SplitManifest,
    options: LoaderOptions,
    columns: Sequence[str] | None,
    rules: RecipeRules | None,
) -> list[Plan]:
    counts = manifest.null_counts(dataset.schema.names if columns is None else columns)
    wishes: dict[str, Any] = {"columns": options.columns, "nulls": options.nulls, "format": options.format}
    if rules is not None:
        return rules.plan(counts, normalize=options.normalize, **wishes)
    return plan_columns(dataset.schema, counts, normalize=checked_normalize(options.normalize), **wishes)


def _order_spec(version: Version, options: LoaderOptions) -> OrderSpec:
    window_chunks = options.window_chunks
    if window_chunks is None:
        window_chunks = default_window_chunks(version.raw_bytes, version.chunks, options.lanes)
    return OrderSpec(
        version=version.reference,
        split=options.split,
        seed=options.seed,
        lanes=options.lanes,
        shuffle=_choice(Shuffle, "shuffle", options.shuffle),
        window_chunks=window_chunks,
    )


def _choice(choices: type[Choice], name: str, value: str) -> Choice:
    try:
        return choices(value)
    except ValueError:
        names = ", ".join(repr(str(choice)) for choice in choices)
        raise UsageError(f"{name}={value!r} does not exist", hint=f"use one of {names}") from None


def _check_numbers(options: LoaderOptions) -> None:
    for name, value, least in (("lanes", options.lanes, 1), ("cache_bytes", options.cache_bytes, 0)):
        if value < least:
            raise UsageError(f"{name} is {value}", hint=f"use a number of at least {least}")
