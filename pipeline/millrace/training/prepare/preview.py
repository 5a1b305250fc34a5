"""Tell the columns, the bytes to fetch and the disk space of a preparation, and show the first rows of its query."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import pyarrow as pa

from millrace.dataset import ReadCost
from millrace.settings import Settings
from millrace.training.prepare.engine import WORK, Engine
from millrace.training.prepare.plan import PreparePlan
from millrace.training.prepare.query import CheckedQuery, check_query
from millrace.training.prepare.writing import InputDataset, add_input, scratch_bytes, scratch_of

SAMPLE_ROWS = 100_000
"""Rows of each input from which the first rows of the result are computed."""


class PreviewedInput(InputDataset, Protocol):
    """The part of ``Dataset`` that a preview uses."""

    def read_cost(self, columns: Any = None, filter: Any = None) -> ReadCost:
        """Return the chunks, tiles and bytes that a read fetches."""


@dataclass(frozen=True, slots=True)
class InputCost:
    """The part of an input that is fetched; bytes as stored."""

    alias: str
    reference: str
    rows: int
    columns: tuple[str, ...]
    filter: str | None
    chunks: int
    tiles: int
    tiles_of_all: int
    """Tiles of all columns of these chunks."""
    stored_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """The cost of a preparation, and the columns and first rows of the result of its query."""

    dataset: str
    inputs: tuple[InputCost, ...]
    columns: tuple[tuple[str, str], ...]
    """Name and type of each column of the result."""
    disk_bytes: int
    one_thread: bool
    head: pa.Table | None = None
    sampled: bool = False
    """Whether the first rows are computed from a part of an input."""

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON-compatible values; the rows as a list of objects."""
        fields = {name: getattr(self, name) for name in ("dataset", "disk_bytes", "one_thread", "sampled")}
        return {
            **fields,
            "inputs": [asdict(cost) for cost in self.inputs],
            "columns": [{"name": name, "type": kind} for name, kind in self.columns],
            "head": None if self.head is None else self.head.to_pylist(),
        }


def preview(
    settings: Settings,
    plan: PreparePlan,
    inputs: Mapping[str, PreviewedInput],
    *,
    head: int | None = None,
    sample_rows: int = SAMPLE_ROWS,
) -> Preview:
    """Return the preview of a plan; with ``head`` also so many rows of the query over a sample of each input.

    Nothing is written but scratch files, which are removed. Raises ``UsageError`` like ``prepare_rows``.
    """
    query = check_query(plan.preparation, {alias: dataset.schema for alias, dataset in inputs.items()})
    with (
        scratch_of(settings, plan) as scratch,
        Engine(scratch, memory_bytes=settings.training.memory_bytes, threads=settings.training.threads) as engine,
    ):
        for alias, dataset in inputs.items():
            add_input(engine, plan, query, alias, dataset, num_rows=sample_rows if head else 0)
        schema = engine.result_schema(query)
        rows = None
        if head:
            engine.run_query(query)
            first = f"SELECT * FROM {WORK}.result LIMIT {head:d}"  # noqa: S608 a constant and a number
            batches = engine.batches(first, batch_rows=head)
            rows = pa.Table.from_batches(list(batches), schema=schema)
    return Preview(
        dataset=plan.dataset,
        inputs=tuple(_cost(query, alias, dataset) for alias, dataset in inputs.items()),
        columns=tuple((field.name, str(field.type)) for field in schema),
        disk_bytes=scratch_bytes(query, inputs),
        one_thread=query.one_thread,
        head=rows,
        sampled=bool(head) and any(dataset.version.rows > sample_rows for dataset in inputs.values()),
    )


def _cost(query: CheckedQuery, alias: str, dataset: PreviewedInput) -> InputCost:
    need, version = query.needs[alias], dataset.version
    cost = dataset.read_cost(list(need.columns), need.filter)
    return InputCost(
        alias=alias,
        reference=version.reference,
        rows=version.rows,
        columns=need.columns,
        filter=need.filter,
        chunks=cost.chunks,
        tiles=cost.tiles,
        tiles_of_all=cost.tiles_of_all,
        stored_bytes=cost.stored_bytes,
    )
