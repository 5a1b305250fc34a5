"""Prepare the rows of a plan and write them as chunks; nothing becomes visible yet."""

from __future__ import annotations

import itertools
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Protocol, Self
from uuid import uuid4

import pyarrow as pa

from millrace.chunks import ChunkSettings, prepared_grouper, prepared_layout, prepared_row_group_bytes
from millrace.dataset import Recipe, with_splits
from millrace.load import LoadPlan, SplitResult, StageTimes, encoded_chunks
from millrace.progress import ProgressTask
from millrace.settings import Settings, millrace_home
from millrace.store import (
    AttemptRole,
    CassandraSession,
    Catalogue,
    ChunkWriter,
    Lease,
    LoadAttempt,
    ReplicatedWriter,
    Version,
)
from millrace.training.prepare.codes import kept_codes
from millrace.training.prepare.engine import Engine, Scratch, estimate_scratch
from millrace.training.prepare.plan import ALGORITHM, PreparePlan
from millrace.training.prepare.planning import duckdb_version
from millrace.training.prepare.query import CheckedQuery, check_query
from millrace.training.prepare.rows import TRAIN, PreparedRows, TrainStatistics, make_recipe, make_rows

BATCH_ROWS = 16_384
"""Rows of the batches in which statistics are computed: their sums depend on it in the last digits."""


class InputDataset(Protocol):
    """The part of ``Dataset`` that a preparation uses."""

    version: Version

    @property
    def schema(self) -> pa.Schema:
        """The schema of the version."""

    def to_batches(
        self, columns: Any = None, filter: Any = None, *, num_rows: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Return the rows, or the first of them, in stored order."""

    def used_by(self, job: str | None) -> AbstractContextManager[Lease | None]:
        """Keep the version from being deleted during the block."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedData:
    """The prepared rows in Cassandra, without a version: names, totals and the schema with splits and recipe."""

    load_plan: LoadPlan
    result: SplitResult
    stages: Mapping[str, float]
    spilled_bytes: int = 0
    """Most bytes of temporary files at any time."""

    @property
    def schema(self) -> pa.Schema:
        """Return the schema of the version."""
        return self.result.arrow_schema()

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON, to be passed from task to task."""
        return {
            "load_plan": self.load_plan.to_json(),
            "result": self.result.to_json(),
            "stages": dict(self.stages),
            "spilled_bytes": self.spilled_bytes,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Return the data of the JSON of ``to_json``."""
        plan, result = LoadPlan.from_json(value["load_plan"]), SplitResult.from_json(value["result"])
        return cls(**{**value, "load_plan": plan, "result": result})


def prepare_rows(
    cassandra: CassandraSession,
    settings: Settings,
    plan: PreparePlan,
    inputs: Mapping[str, InputDataset],
    *,
    task: ProgressTask,
    attempt: int = 1,
) -> PreparedData:
    """Run the query of a plan over its inputs, and write the rows as a new attempt.

    On return every chunk is acknowledged and its manifest page is written. Memory: that of DuckDB, which the settings
    bound, ``ENCODE_BYTES_MAX`` of raw rows and ``window_bytes`` of stored chunks. Scratch files are removed however the
    call ends. Raises ``UsageError`` for a declaration that does not fit the inputs, and ``StoreError``.
    """
    times = StageTimes()
    preparation = plan.preparation
    query = check_query(preparation, {alias: dataset.schema for alias, dataset in inputs.items()})
    with ExitStack() as held, scratch_of(settings, plan) as scratch:
        for dataset in inputs.values():
            # The version cannot be published if one of its inputs is deleted meanwhile.
            held.enter_context(dataset.used_by(None))
        scratch.require_room(scratch_bytes(query, inputs))
        threads, memory_bytes = settings.training.threads, settings.training.memory_bytes
        with Engine(scratch, memory_bytes=memory_bytes, threads=threads) as engine:
            with times.stage("fetch"):
                _fetch(engine, plan, query, inputs, task)
            with times.stage("query"):
                task.phase("query")
                engine.run_query(query)
            with times.stage("join"):
                codes = kept_codes(Catalogue(cassandra), plan)
                rows = make_rows(engine, preparation, query, codes, task)
            task.set_total(_fetched(inputs) + sum(rows.split_rows.values()))
            with times.stage("write"):
                load_plan, result = _Writing(cassandra, settings, plan, rows, task, attempt, rows.statistics()).write()
            spilled_bytes = engine.spilled_bytes
    task.message(f"{result.rows:,} rows in {len(rows.split_rows)} splits, {result.chunks:,} chunks")
    return PreparedData(load_plan=load_plan, result=result, stages=times.seconds, spilled_bytes=spilled_bytes)


def scratch_of(settings: Settings, plan: PreparePlan) -> Scratch:
    """Return the scratch folder of a preparation, which is made by its ``with``."""
    return Scratch(Path(settings.training.scratch or millrace_home() / "scratch"), name=plan.dataset)


def add_input(
    engine: Engine,
    plan: PreparePlan,
    query: CheckedQuery,
    alias: str,
    dataset: InputDataset,
    *,
    num_rows: int | None = None,
    progress: Callable[[int], None] = lambda rows: None,
) -> None:
    """Insert the needed columns and rows of an input into the engine, or the first rows of them, in stored order."""
    need = query.needs[alias]
    hidden = plan.preparation.after if alias == plan.preparation.main else ()
    schema = pa.schema([dataset.schema.field(name) for name in need.columns])
    batches = dataset.to_batches(list(need.columns), need.filter, num_rows=num_rows)
    engine.add_input(alias, pa.RecordBatchReader.from_batches(schema, batches), hidden=hidden, progress=progress)


def scratch_bytes(query: CheckedQuery, inputs: Mapping[str, InputDataset]) -> int:
    """Return the bytes of disk that a preparation reserves."""
    schemas = {alias: dataset.schema for alias, dataset in inputs.items()}
    return estimate_scratch(query, schemas, {alias: ds.version.rows for alias, ds in inputs.items()}).scratch_bytes


def _fetched(inputs: Mapping[str, InputDataset]) -> int:
    return sum(dataset.version.rows for dataset in inputs.values())


def _fetch(
    engine: Engine,
    plan: PreparePlan,
    query: CheckedQuery,
    inputs: Mapping[str, InputDataset],
    task: ProgressTask,
) -> None:
    """Insert each input into the engine, and report the rows."""
    # As many rows as the main input has are written at most. The number is corrected once it is known.
    task.set_total(_fetched(inputs) + inputs[plan.preparation.main].version.rows)
    done = 0
    for alias, dataset in inputs.items():
        task.phase(f"fetch {alias}")
        add_input(engine, plan, query, alias, dataset, progress=partial(_fetched_rows, task, done))
        done += dataset.version.rows
    task.advance_to(done)


def _fetched_rows(task: ProgressTask, before: int, rows: int) -> None:
    task.advance_to(before + rows)


@dataclass
class _Writing:
    """The writing of the rows, split by split, and the statistics of the train rows on the way."""

    cassandra: CassandraSession
    settings: Settings
    plan: PreparePlan
    rows: PreparedRows
    task: ProgressTask
    attempt: int
    statistics: TrainStatistics
    splits: dict[str, range] = field(default_factory=dict)

    def write(self) -> tuple[LoadPlan, SplitResult]:
        start_s = time.time()
        self.task.phase("write")
        limits = self.settings.load
        row = self._attempt_row()
        with ReplicatedWriter(
            self.cassandra,
            window_bytes=limits.window_bytes,
            chunks_in_flight=limits.chunks_in_flight,
            bytes_per_s=limits.bytes_per_s,
        ) as writes:
            chunk_writer = ChunkWriter(self.cassandra, writes, row, bucket_bytes=limits.bucket_bytes)
            load_plan = self._load_plan()
            self._write_splits(load_plan, chunk_writer)
            report = chunk_writer.finish()
            under_replicated = report.under_replicated + chunk_writer.record_lost_writes()
        schema = with_splits(self._recipe().with_recipe(self.rows.schema), self.splits)
        pages = report.pages
        return load_plan, SplitResult(
            split=-1,
            attempt_id=row.attempt_id,
            inherited=(),
            pages=len(pages),
            chunks=report.chunks,
            rows=report.rows,
            raw_bytes=sum(page.raw_bytes for page in pages),
            stored_bytes=sum(page.stored_bytes for page in pages),
            under_replicated=under_replicated,
            retries=report.retries,
            schema=schema.serialize().to_pybytes(),
            span_s=(start_s, time.time()),
        )

    def _attempt_row(self) -> LoadAttempt:
        return LoadAttempt(
            dataset=self.plan.dataset,
            attempt_id=uuid4(),
            run=self.plan.run,
            fingerprint=self.plan.fingerprint,
            role=AttemptRole.SOURCE,
            split=0,
            try_number=self.attempt,
            version=self.plan.label,
            host=socket.gethostname(),
            started=datetime.now(UTC),
        )

    def _load_plan(self) -> LoadPlan:
        limits, schema = self.settings.load, self.rows.schema
        chunks = ChunkSettings(
            codec=limits.codec,
            codec_level=limits.codec_level,
            chunk_bytes=limits.chunk_bytes,
            row_group_bytes=prepared_row_group_bytes(schema),
        )
        return self.plan.load_plan(schema, prepared_layout(schema, self.rows.features), chunks)

    def _write_splits(self, load_plan: LoadPlan, chunk_writer: ChunkWriter) -> None:
        written = 0
        by_split = itertools.groupby(self.rows.batches(batch_rows=BATCH_ROWS), key=lambda pair: pair[0])
        for split, pairs in by_split:
            begin = written
            batches = self._observed(split, (batch for _, batch in pairs))
            grouper = prepared_grouper(load_plan.chunks, self.rows.schema)  # a chunk belongs to one split
            for chunk in encoded_chunks(load_plan, batches, threads=self.settings.load.encode_threads, grouper=grouper):
                chunk_writer.write(chunk)
                written += 1
                self.task.advance(chunk.rows)
                self.task.count(chunks=1, bytes_raw=chunk.raw_bytes, bytes_stored=chunk.stored_bytes)
            self.splits[split] = range(begin, written)

    def _observed(self, split: str, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            if split == TRAIN:
                self.statistics.add(batch)
            yield batch

    def _recipe(self) -> Recipe:
        return make_recipe(
            self.plan.preparation,
            self.rows,
            self.statistics.figures(),
            inputs=self.plan.inputs,
            algorithm=ALGORITHM,
            duckdb=duckdb_version(),
        )
