"""Count the batches of a training loop that has another loader than ours."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from millrace.training.progress.facts import TrainingFacts
from millrace.training.progress.wait_times import WaitTimes

Batch = TypeVar("Batch")


class LoopCounter:
    """The facts of a loop over any iterable of batches, also over a ``DataLoader`` whose workers are processes.

    ::

        counter = LoopCounter("flights", steps=len(batches), total_rows=100_000)
        with TrainingProgress(counter, epochs=3) as progress:
            for epoch in range(3):
                for batch in counter.batches(batches, epoch, rows_of=lambda batch: len(batch["label"])):
                    progress.report(loss=train(batch))

    ``steps`` and ``total_rows`` are those of one rank in one epoch; 0 if unknown.
    """

    def __init__(
        self,
        dataset: str,
        *,
        split: str = "",
        rank: int = 0,
        world_size: int = 1,
        steps: int = 0,
        total_rows: int = 0,
    ) -> None:
        self._dataset, self._split = dataset, split
        self._rank, self._world_size = rank, world_size
        self._steps, self._total_rows = steps, total_rows
        self._waits = WaitTimes()
        # One tuple, so that a reader never sees the step of one epoch with another epoch.
        self._position = (0, 0, 0)

    def batches(self, batches: Iterable[Batch], epoch: int, rows_of: Callable[[Batch], int]) -> Iterator[Batch]:
        """Yield the batches of one epoch, counted; ``rows_of`` returns the number of rows of a batch."""
        _, step, rows = self._position
        step, rows = step if not self._steps else 0, rows if not self._total_rows else 0
        self._position = (epoch, step, rows)
        for batch in self._timed(iter(batches)):
            step, rows = step + 1, rows + rows_of(batch)
            self._position = (epoch, step, rows)
            yield batch

    def _timed(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        while True:
            started_s = time.perf_counter()
            try:
                batch = next(batches)
            except StopIteration:
                return
            self._waits.add(time.perf_counter() - started_s)
            yield batch

    def facts(self) -> TrainingFacts:
        """Return the facts of this moment."""
        epoch, step, rows = self._position
        return TrainingFacts(
            dataset=self._dataset,
            split=self._split,
            rank=self._rank,
            world_size=self._world_size,
            epoch=epoch,
            step=step,
            steps=self._steps,
            rows=rows,
            total_rows=self._total_rows,
            waits=self._waits,
        )
