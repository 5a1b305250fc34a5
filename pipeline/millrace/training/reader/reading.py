"""The running part of a loader: its threads, its arena, and the lease of its version, from the first batch to close."""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from queue import SimpleQueue

from millrace.store import ChunkRef
from millrace.training.reader.arena import Arena
from millrace.training.reader.epochs import EpochPlans
from millrace.training.reader.fragment_reader import FragmentReader, Source
from millrace.training.reader.pipeline import STALLED_S, Pipeline, RankPlan

_open: weakref.WeakSet[Reading] = weakref.WeakSet()


class Reading:
    """The threads and the memory that read for one rank.

    ``resources`` are closed when the threads have ended: after ``close``, or after this object was dropped. A thread
    that only waits does it, because the garbage collector may drop the object in any thread, in which no wait and no
    lock is safe.
    """

    def __init__(
        self,
        plan: RankPlan,
        chunks: Mapping[int, ChunkRef],
        source: Source,
        *,
        threads: int,
        resources: ExitStack,
        stalled_s: float = STALLED_S,
    ) -> None:
        self.plan = plan
        self.process = os.getpid()
        self._arena = Arena(plan.fixed, plan.shape)
        self._reader = FragmentReader(plan.order, chunks, source, self._arena, plan.plans)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="millrace-training")
        self._stalled_s = stalled_s
        self._pipeline: Pipeline | None = None
        self._over: SimpleQueue[None] = SimpleQueue()
        closing = (self._over, self._pool, resources)
        self._closer = threading.Thread(target=_close, args=closing, name="millrace-training-close", daemon=True)
        self._closer.start()
        weakref.finalize(self, self._over.put, None)
        _open.add(self)

    @property
    def pipeline(self) -> Pipeline | None:
        """The batches from the last ``begin`` on."""
        return self._pipeline

    def begin(self, epoch: int, row: int) -> Pipeline:
        """Return the batches from a position on; what was read ahead is kept if it continues there."""
        pipeline = self._pipeline
        if pipeline is None or not pipeline.is_at(epoch, row):
            pipeline = self.restart(self.plan.epochs(epoch, row))
        if pipeline.consumed == pipeline.places.end_slot:
            pipeline.next_epoch()
        return pipeline

    def restart(self, epochs: EpochPlans) -> Pipeline:
        """Drop what was read ahead, and return the batches of other epochs."""
        last = self._pipeline
        if last is not None:
            last.cancel()
        self._pipeline = Pipeline(
            self.plan,
            self._arena,
            self._reader,
            self._pool,
            epochs=epochs,
            first_slot=0 if last is None else last.end_slot,
            stalled_s=self._stalled_s,
        )
        return self._pipeline

    def close(self) -> None:
        """End the threads and close the resources; wait for both."""
        if self._pipeline is not None:
            self._pipeline.cancel()
        self._over.put(None)
        self._closer.join()


def _close(over: SimpleQueue[None], pool: ThreadPoolExecutor, resources: ExitStack) -> None:
    over.get()
    pool.shutdown(wait=True, cancel_futures=True)
    resources.close()


def close_all() -> None:
    """Close every reading of this process, so that leases and connections end with it."""
    for reading in list(_open):
        if reading.process == os.getpid():  # else it was inherited by a fork, without its threads
            reading.close()


atexit.register(close_all)
