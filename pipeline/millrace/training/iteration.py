"""The iterator over the batches of one epoch."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Mapping
from time import perf_counter
from typing import Any, Self

from millrace.errors import UsageError
from millrace.training.formats import Batch
from millrace.training.progress import WaitTimes
from millrace.training.reader import Pipeline

Batches = Generator[Batch, None, None]


def epoch_batches(
    pipeline: Pipeline, make_batch: Callable[[Mapping[str, Any]], Batch], wait_for_lease: Callable[[], None]
) -> Batches:
    """Yield the rest of the pipeline's epoch; the lease is recorded before the first batch is given away."""
    end = pipeline.places.end_slot
    if pipeline.next_slot < end:
        columns = pipeline.take()
        wait_for_lease()
        yield make_batch(columns)
        del columns
    while pipeline.next_slot < end:
        yield make_batch(pipeline.take())


def lane_blocks(
    pipeline: Pipeline, lanes: int, wait_for_lease: Callable[[], None]
) -> Generator[tuple[Mapping[str, Any], int], None, None]:
    """Yield the batches of a pipeline without end, as columns with their rows of each of ``lanes`` lanes.

    The batch before the newest one may be in use. The lease is recorded before the first batch is given away.
    """
    while True:
        if pipeline.next_slot == pipeline.places.end_slot:
            pipeline.next_epoch()
        rows = pipeline.places.batch_rows(pipeline.next_slot)
        columns = pipeline.take()
        pipeline.consumed += 1
        wait_for_lease()
        yield columns, rows // lanes


class BatchIterator:
    """The batches of an epoch, for one consumer.

    It ends with the epoch, with an error, with ``close``, or when the loader begins another iteration.
    """

    def __init__(self, owner: object, pipeline: Pipeline, batches: Batches, waits: WaitTimes) -> None:
        self._owner = owner
        """Keeps the threads alive while only the iterator is used."""
        self._pipeline = pipeline
        self._batches = batches
        self._waits = waits
        self._turn = threading.Lock()
        self.is_over = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Batch:
        if self.is_over:
            raise StopIteration
        if not self._turn.acquire(blocking=False):
            raise _shared()
        try:
            began = perf_counter()
            batch = next(self._batches)
            self._pipeline.consumed += 1
            self._waits.add(perf_counter() - began)
            return batch
        except StopIteration:
            self.is_over = True
            raise
        except BaseException:
            self.is_over = self._pipeline.is_broken = True
            raise
        finally:
            self._turn.release()

    def close(self) -> None:
        """End the iteration; the loader's state stays after the last batch."""
        if not self._turn.acquire(blocking=False):
            raise _shared()
        try:
            self.is_over = True
            self._batches.close()
        finally:
            self._turn.release()


def _shared() -> UsageError:
    return UsageError(
        "another thread is waiting for a batch of this iterator",
        hint="an iterator is for one thread; give its batches to the others through a queue",
    )
