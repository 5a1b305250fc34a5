"""The parts of a loader that live in one process: the open dataset, and the threads and memory of its read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from typing import Any

from millrace.store import Lease
from millrace.training.iteration import Batches, epoch_batches, lane_blocks
from millrace.training.options import LoaderOptions
from millrace.training.prepared import Prepared, TrainableDataset, prepare
from millrace.training.reader import STALLED_S, EpochPlans, Pipeline, Reading, transformed

Opener = Callable[[], AbstractContextManager[TrainableDataset]]
"""Opens the dataset in the process that calls it. It is pickled with the loader."""


class OpenedLoader:
    """An open dataset and all that is known of it; from the first ``begin`` on also the threads and the lease."""

    def __init__(
        self, opener: Opener, options: LoaderOptions, *, threads: int, job: str, stalled_s: float = STALLED_S
    ) -> None:
        self.process = os.getpid()
        self._options = options
        self._job = job
        self._stalled_s = stalled_s
        self._resources = ExitStack()
        self._reading: Reading | None = None
        self._lease: Lease | None = None
        try:
            dataset = self._resources.enter_context(opener())
            self.prepared: Prepared = prepare(dataset, options, threads=threads)
        except BaseException:
            self._resources.close()
            raise

    @property
    def pipeline(self) -> Pipeline | None:
        """The batches from the last ``begin`` on."""
        return None if self._reading is None else self._reading.pipeline

    def begin(self, epoch: int, row: int) -> tuple[Pipeline, Batches]:
        """Return the batches of an epoch from a row of the lanes on; take the lease and start the threads first."""
        if self._reading is None:
            self._reading = self._start()
        pipeline = self._reading.begin(epoch, row)
        batches = epoch_batches(pipeline, self.prepared.make_batch, self._wait_for_lease)
        if self._options.transform is None:
            return pipeline, batches
        return pipeline, transformed(batches, self._options.transform, bytes_max=self.prepared.waiting_bytes)

    def blocks(self, epochs: EpochPlans) -> Iterator[tuple[Mapping[str, Any], int]]:
        """Begin to read the batches of these epochs, and return them as columns with their rows of each lane."""
        if self._reading is None:
            self._reading = self._start()
        lanes = len(self.prepared.outline.lanes)
        return lane_blocks(self._reading.restart(epochs), lanes, self._wait_for_lease)

    def close(self) -> None:
        """End the threads, release the lease, and close the connection if it is the loader's own."""
        if self._reading is None:
            self._resources.close()
        else:
            self._reading.close()

    def _start(self) -> Reading:
        prepared = self.prepared
        self._lease = self._resources.enter_context(prepared.dataset.used_by(self._job))
        return Reading(
            prepared.plan,
            prepared.chunks,
            prepared.source,
            threads=prepared.threads,
            resources=self._resources,
            stalled_s=self._stalled_s,
        )

    def _wait_for_lease(self) -> None:
        if self._lease is not None:
            self._lease.wait_taken()
