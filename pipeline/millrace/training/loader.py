"""``TrainingLoader``: the batches of one rank, as an iterable with a state."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

from millrace.errors import UsageError
from millrace.training.columns import Plan
from millrace.training.formats import Batch, Undivided
from millrace.training.iteration import BatchIterator
from millrace.training.opened import OpenedLoader, Opener
from millrace.training.options import LoaderOptions
from millrace.training.outline import Outline
from millrace.training.progress import TrainingFacts, WaitTimes
from millrace.training.ranks import job_name
from millrace.training.reader import EpochPlans, Pipeline, read_threads
from millrace.training.state import LoaderState

_inherited: list[object] = []
"""Parts that belong to the process from which this one was forked. They must not be closed here."""


class TrainingLoader(Undivided):
    """The batches of one rank of a training job, epoch after epoch.

    ``iter`` continues at the state: after a finished epoch with the next one, after an iteration that was left with
    the batch after the last one that it gave. One thread may iterate at a time. The loader opens the dataset in the
    process that iterates, so it survives pickling, fork and spawn. Close it, or use it as a context manager: threads,
    memory and the lease of the version are held from the first batch to ``close``.
    """

    def __init__(self, opener: Opener, options: LoaderOptions) -> None:
        self._opener = opener
        self._made_in = os.getpid()
        self._job = job_name()
        self._iteration: weakref.ref[BatchIterator] | None = None
        self._moved: tuple[int, int] | None = (0, 0)
        """The position of the next iteration; None while that is the position of the pipeline."""
        self._origin = (0, 0)
        self._waits = WaitTimes()
        opened = OpenedLoader(opener, options, threads=read_threads(), job=self._job)
        self._opened: OpenedLoader | None = opened
        self._outline = outline = opened.prepared.outline
        self.options = replace(options, rank=outline.rank, world_size=outline.world_size)

    def __iter__(self) -> BatchIterator:
        """Begin or continue an epoch at the state of the loader; an iterator before this one ends."""
        self._check_worker()
        if (last := self._running()) is not None:
            last.close()
        pipeline, batches = self._open().begin(*self._position())
        self._moved = None
        iteration = BatchIterator(self, pipeline, batches, self._waits)
        self._iteration = weakref.ref(iteration)
        return iteration

    def __len__(self) -> int:
        """Return the batches of the epoch, from the position at which it was begun."""
        pipeline = self._pipeline()
        if pipeline is not None and (self._running() is not None or pipeline.consumed < pipeline.places.end_slot):
            return pipeline.places.plan.batches
        return self._outline.batch_plan(self._position()[1]).batches

    @property
    def epoch(self) -> int:
        """The epoch of the next batch."""
        return self._position()[0]

    @property
    def rank(self) -> int:
        """The rank of this loader."""
        return self._outline.rank

    @property
    def world_size(self) -> int:
        """The number of ranks."""
        return self._outline.world_size

    @property
    def prefetch_bytes(self) -> int:
        """The bound of the memory of batches, and of chunks in flight."""
        return self._outline.prefetch_bytes

    @property
    def dropped_rows(self) -> int:
        """The rows of all ranks that a whole epoch does not deliver."""
        return self._outline.batch_plan().dropped_rows

    @property
    def padded_rows(self) -> int:
        """The rows of all ranks that a whole epoch delivers once more, to fill the last batch."""
        return self._outline.batch_plan().padded_rows

    @property
    def outline(self) -> Outline:
        """The order of the split and the share of the rank."""
        return self._outline

    @property
    def plans(self) -> Sequence[Plan]:
        """The columns of a batch."""
        return self._open().prepared.plan.plans

    def with_options(self, **changes: Any) -> TrainingLoader:
        """Return another loader of the same dataset, at its beginning, with some options changed."""
        return TrainingLoader(self._opener, replace(self.options, **changes))

    def blocks(self, epochs: EpochPlans) -> Iterator[tuple[Mapping[str, Any], int]]:
        """Begin to read the batches of these epochs, and return them as columns with their rows of each lane.

        They are not in a format yet and not transformed. A loader that is used so is not iterated.
        """
        return self._open().blocks(epochs)

    def make_batch(self, columns: Mapping[str, Any]) -> Batch:
        """Return a batch of these columns in the format of the loader."""
        return self._open().prepared.make_batch(columns)

    def set_epoch(self, epoch: int) -> None:
        """Go to the beginning of an epoch; nothing is read again if the loader is there already."""
        self._check_not_running("set_epoch")
        if epoch < 0:
            raise UsageError(f"epoch {epoch} does not exist", hint="epochs count from 0")
        self._move(epoch, 0)

    def state_dict(self) -> dict[str, Any]:
        """Return the state after the last batch that the consumer has got, as JSON of at most 300 bytes."""
        return self._outline.state_at(*self._position())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to the position of a state of the same order, of any rank, world size, workers and batch size.

        Raises ``UsageError`` while an iteration is under way, and for a state of another version or order.
        """
        self._check_not_running("load_state_dict")
        loaded = LoaderState.from_json(state)
        self._outline.state.check(loaded)
        self._outline.batch_plan(loaded.rows)  # refuses a position that the lanes do not have
        self._move(loaded.epoch, loaded.rows)

    def state_at(self, step: int) -> dict[str, Any]:
        """Return the state after ``step`` batches.

        They count from the position at which the loader was made, or to which ``load_state_dict`` or ``set_epoch``
        moved it last, and over the ends of epochs. It serves loops that count steps, and loaders whose batches pass
        through worker processes.
        """
        if step < 0:
            raise UsageError(f"step {step} does not exist", hint="steps count from 0")
        return self._outline.state_at(*self._outline.after(*self._origin, step))

    def facts(self) -> TrainingFacts:
        """Return the position and the counters of this rank, for ``TrainingProgress``; takes no lock."""
        outline, opened, pipeline = self._outline, self._opened, self._pipeline()
        plan = outline.batch_plan()
        epoch, row = self._position()
        step, total_rows = row // plan.lane_batch_rows, outline.rank_rows(plan)
        if pipeline is not None:  # the end of an epoch is not yet the next one: its newest batch counts
            epoch, step = pipeline.places.epoch, pipeline.step_of(pipeline.consumed)
        tiers = {} if opened is None else opened.prepared.source.stats.tiers
        return TrainingFacts(
            dataset=outline.dataset,
            split=outline.state.spec.split or "",
            rank=outline.rank,
            world_size=outline.world_size,
            epoch=epoch,
            step=min(step, plan.batches),
            steps=plan.batches,
            rows=min(step * plan.lane_batch_rows * len(outline.lanes), total_rows),
            total_rows=total_rows,
            tiers=tiers,
            prefetch_bytes=outline.prefetch_bytes,
            waits=self._waits,
        )

    def close(self) -> None:
        """End the iteration and the threads, and release memory, lease and connections; the state stays."""
        if (last := self._running()) is not None:
            last.close()
        opened = self._own_parts()
        if opened is None:
            return
        self._moved = self._position()
        self._opened = None
        opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        """Return names, settings and the state: what another process needs to continue."""
        own = {"_opened": None, "_iteration": None, "_moved": self._position(), "_waits": WaitTimes()}
        return {**self.__dict__, **own}

    def _move(self, epoch: int, row: int) -> None:
        self._moved = self._origin = (epoch, row)

    def _position(self) -> tuple[int, int]:
        """Return the epoch and the rows of it that every lane has handed out."""
        pipeline = self._pipeline()
        return pipeline.position if pipeline is not None else self._moved or self._origin

    def _pipeline(self) -> Pipeline | None:
        """Return the batches of this process, unless the loader was moved to another position."""
        opened = self._own_parts()
        return None if opened is None or self._moved is not None else opened.pipeline

    def _running(self) -> BatchIterator | None:
        """Return the iterator that has not ended."""
        iteration = None if self._iteration is None else self._iteration()
        return None if iteration is None or iteration.is_over else iteration

    def _check_not_running(self, method: str) -> None:
        if self._running() is not None and self._own_parts() is not None:
            raise UsageError(
                f"{method} is not possible while an iteration is under way",
                hint="call it before iter(), after the epoch, or after loader.close()",
            )

    def _open(self) -> OpenedLoader:
        """Return the parts of this process, after opening the dataset if there are none."""
        opened = self._own_parts()
        if opened is None:
            opened = OpenedLoader(self._opener, self.options, threads=self._outline.threads, job=self._job)
            self._opened = opened
        return opened

    def _own_parts(self) -> OpenedLoader | None:
        """Return the parts of this process. Those of the process from which it was forked are left alone."""
        opened = self._opened
        if opened is None or opened.process == os.getpid():
            return opened
        _inherited.append((opened, self._iteration and self._iteration()))
        if self._moved is None and opened.pipeline is not None:
            self._moved = opened.pipeline.position
        self._opened = self._iteration = None
        return None
