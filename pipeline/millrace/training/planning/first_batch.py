"""Measure how soon a loader has its first batch: the same threads, memory, reads and permutations as in a job."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import replace
from itertools import takewhile
from statistics import median
from typing import Final

from millrace.training.options import LoaderOptions
from millrace.training.order import Shuffle
from millrace.training.prepared import Prepared, TrainableDataset, loader_source, prepare
from millrace.training.reader import Reading, read_threads

READ_CHUNKS_MAX: Final = 32
_ROUNDS: Final = 5
_ROUNDS_S: Final = 0.4


def first_batch_s(dataset: TrainableDataset, options: LoaderOptions, prepared: Prepared) -> float:
    """Return the seconds from the first ``iter`` of a loader to its first batch, by the median of at most 5 rounds.

    A round reads the windows of the first batch. Where they have more than 32 chunks, it reads smaller windows, and the
    result is in proportion to the chunks.
    """
    chunks = _first_chunks(prepared)
    measured = prepare(dataset, _measured(options, chunks, len(prepared.outline.lanes)), threads=read_threads())
    with measured.source.borrow(next(iter(measured.chunks.values()))):
        pass  # the first read of a process connects
    rounds: list[float] = []
    began = time.perf_counter()
    while len(rounds) < _ROUNDS and (not rounds or time.perf_counter() - began < _ROUNDS_S):
        source = loader_source(dataset, measured.columns)  # its memory is new, as in a job
        rounds.append(_round_s(replace(measured, source=source), options))
    return median(rounds) * chunks / _first_chunks(measured)


def _measured(options: LoaderOptions, chunks: int, lanes: int) -> LoaderOptions:
    """Return the options of a read of the first windows, of at most 32 chunks or of one chunk of each lane."""
    options = replace(options, cache_bytes=0)
    if chunks <= READ_CHUNKS_MAX:
        return options
    small = replace(options, global_batch_rows=options.lanes, prefetch_bytes=None)
    if options.shuffle in (Shuffle.NONE, Shuffle.CHUNK):
        return small
    return replace(small, shuffle=Shuffle.WINDOW, window_chunks=max(1, READ_CHUNKS_MAX // lanes))


def _first_chunks(prepared: Prepared) -> int:
    """Return the number of chunks, or parts of them, in the windows of the first batch of the rank."""
    order, plan = prepared.plan.order, prepared.outline.batch_plan()
    windows = (
        takewhile(lambda window: window.first_row < plan.lane_batch_rows, order.windows(lane, 0))
        for lane in prepared.outline.lanes
    )
    return sum(len(window.fragments) for of_lane in windows for window in of_lane)


def _round_s(prepared: Prepared, options: LoaderOptions) -> float:
    """Return the seconds of one round, in which a loader would also store its lease; the cache records no job."""
    began = time.perf_counter()
    with ExitStack() as resources:
        lease = resources.enter_context(prepared.dataset.used_by(None))
        reading = Reading(
            prepared.plan, prepared.chunks, prepared.source, threads=prepared.threads, resources=ExitStack()
        )
        resources.callback(reading.close)
        columns = reading.begin(0, 0).take()
        if lease is not None:
            lease.wait_taken()
        batch = prepared.make_batch(columns)
        if options.transform is not None:
            options.transform(batch)
        return time.perf_counter() - began
