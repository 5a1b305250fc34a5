"""``Mixture``: the batches of one rank from several datasets, as an iterable with a state."""

from __future__ import annotations

import os
import weakref
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from inspect import GEN_CLOSED, getgeneratorstate
from time import perf_counter
from typing import Any, Self

from millrace.errors import UsageError
from millrace.training.columns import ColumnPlan
from millrace.training.formats import Batch, Undivided
from millrace.training.mixing.mixed_batch import LaneRows, MixedBatch, lane_places
from millrace.training.mixing.mixture_state import MixtureState
from millrace.training.mixing.plan import MixPlan
from millrace.training.mixing.source import MixedSource
from millrace.training.order import progress_after
from millrace.training.progress import TrainingFacts, WaitTimes
from millrace.training.state import LoaderState

Batches = Generator[Batch, None, None]


class Mixture(Undivided):
    """The batches of one rank from several datasets, epoch after epoch.

    How many rows of each dataset a batch has depends on the rows before it alone. So a mixture has the same global
    batches on any world size, and its state restores every rank. The rows of a batch are in a fixed order of lanes and
    datasets, and are copied once. Use a mixture like a ``TrainingLoader``, and close it like one.
    """

    def __init__(self, plan: MixPlan, sources: Sequence[MixedSource]) -> None:
        self._plan = plan
        self._made_in = os.getpid()
        self._sources = tuple(sources)
        self._position = self._origin = (0, 0)
        self._newest = self._position
        """The position after the newest batch; at the end of an epoch it is not yet the next one."""
        self._process = 0
        """The process that has opened ``_lane_rows``."""
        self._lane_rows: list[LaneRows] = []
        self._iteration: weakref.ref[Batches] | None = None
        self._waits = WaitTimes()

    def __iter__(self) -> Batches:
        """Begin or continue an epoch at the state of the mixture; an iterator before this one ends."""
        self._check_worker()
        if (last := self._running()) is not None:
            last.close()
        iteration = self._batches()
        self._iteration = weakref.ref(iteration)
        return iteration

    def __len__(self) -> int:
        """Return the batches of the epoch that are left."""
        return self._plan.batches_from(self._position[1]).batches

    @property
    def epoch(self) -> int:
        """The epoch of the next batch."""
        return self._position[0]

    @property
    def rows_of_datasets(self) -> dict[str, int]:
        """The rows of each version in an epoch, of all ranks. Rows beyond those of the dataset are repeated ones."""
        plan = self._plan
        lane_rows = plan.lane_rows_after(plan.end_row(0))
        return {part.version: rows * part.lanes for part, rows in zip(plan.parts, lane_rows, strict=True)}

    @property
    def prefetch_bytes(self) -> int:
        """The bound of the memory of batches, and of chunks in flight."""
        columns = self._sources[0].plans
        row_bytes = sum(plan.row_bytes for plan in columns if isinstance(plan, ColumnPlan))
        return self._batch_rows * row_bytes + sum(source.prefetch_bytes for source in self._sources)

    def set_epoch(self, epoch: int) -> None:
        """Go to the beginning of an epoch; nothing is read again if the mixture is there already."""
        self._check_not_running("set_epoch")
        if epoch < 0:
            raise UsageError(f"epoch {epoch} does not exist", hint="epochs count from 0")
        self._move(epoch, 0)

    def state_dict(self) -> dict[str, Any]:
        """Return the state after the last batch that the consumer has got, as JSON."""
        return self._state(*self._position).to_json()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to the position of a state of the same mixture, of any rank, world size and batch size.

        Raises ``UsageError`` while an iteration is under way, and for a state of other datasets, orders or weights.
        """
        self._check_not_running("load_state_dict")
        loaded = MixtureState.from_json(state)
        self._state(0, 0).check(loaded)
        if loaded.rows % self._plan.unit_rows or self._state(loaded.epoch, loaded.rows) != loaded:
            raise UsageError(
                "the positions of the datasets in the state are not those of the mixture",
                hint="pass the unchanged result of mixture.state_dict()",
            )
        self._move(loaded.epoch, loaded.rows)

    def state_at(self, step: int) -> dict[str, Any]:
        """Return the state after ``step`` batches, counted as those of ``TrainingLoader.state_at``."""
        if step < 0:
            raise UsageError(f"step {step} does not exist", hint="steps count from 0")
        return self._state(*self._after(*self._origin, step)).to_json()

    def facts(self) -> TrainingFacts:
        """Return the position and the counters of this rank, for ``TrainingProgress``; takes no lock."""
        plan, (epoch, rows) = self._plan, self._newest
        steps, step = plan.batches_from(0).batches, rows // plan.global_batch_rows
        return TrainingFacts(
            dataset="+".join(part.version.partition("@")[0] for part in plan.parts),
            rank=self._sources[0].lanes.start // len(self._sources[0].lanes),
            world_size=plan.parts[0].lanes // len(self._sources[0].lanes),
            epoch=epoch,
            step=min(step, steps),
            steps=steps,
            rows=min(step, steps) * self._batch_rows,
            total_rows=steps * self._batch_rows,
            tiers=dict(sum((Counter(source.tiers) for source in self._sources), Counter())),
            prefetch_bytes=self.prefetch_bytes,
            waits=self._waits,
        )

    def close(self) -> None:
        """End the iteration and release what the loaders hold; the state stays."""
        if (last := self._running()) is not None:
            last.close()
        self._lane_rows = []
        for source in self._sources:
            source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        """Return names, settings and the state: all that another process needs to continue."""
        return {**self.__dict__, "_lane_rows": [], "_iteration": None, "_waits": WaitTimes()}

    @property
    def _batch_rows(self) -> int:
        """The rows of a batch of this rank."""
        return self._plan.global_batch_rows * self._rank_groups // self._plan.groups

    @property
    def _rank_groups(self) -> int:
        """The groups of lanes of this rank."""
        return len(self._sources[0].lanes) * self._plan.groups // self._plan.parts[0].lanes

    def _batches(self) -> Batches:
        _, rows = self._position
        for _ in range(self._plan.batches_from(rows).batches):
            began = perf_counter()
            try:
                batch = self._next_batch()
            except BaseException:
                self._lane_rows = []  # some datasets may be further than the position
                raise
            epoch, rows = self._position
            self._newest = (epoch, rows + self._plan.global_batch_rows)
            self._position = self._after(epoch, rows, 1)
            self._waits.add(perf_counter() - began)
            yield batch

    def _next_batch(self) -> Batch:
        """Copy the rows of the next batch from the datasets; they go on behind these rows."""
        plan, (_, rows) = self._plan, self._position
        ends = (plan.lane_rows_after(rows), plan.lane_rows_after(rows + plan.global_batch_rows))
        lane_rows = [stop - first for first, stop in zip(*ends, strict=True)]
        places = lane_places([len(source.lanes) for source in self._sources], self._rank_groups, lane_rows)
        batch = MixedBatch(self._sources[0].plans, self._batch_rows)
        for dataset, count, starts in zip(self._opened(), lane_rows, places, strict=True):
            written = 0
            for piece in dataset.pieces(count):
                for lane, start in enumerate(starts):
                    batch.write(piece, lane, start + written)
                written += piece.stop - piece.first
        return self._sources[0].make_batch(batch.columns())

    def _opened(self) -> list[LaneRows]:
        """Return the rows of all datasets behind the position."""
        if not self._lane_rows or self._process != os.getpid():
            self._process = os.getpid()
            self._lane_rows = [
                LaneRows(source.blocks(self._plan.all_stretches(number, *self._position)))
                for number, source in enumerate(self._sources)
            ]
        return self._lane_rows

    def _move(self, epoch: int, rows: int) -> None:
        self._origin = self._after(epoch, rows, 0)
        if self._origin != self._position:
            self._lane_rows = []
        self._position = self._newest = self._origin

    def _after(self, epoch: int, rows: int, batches: int) -> tuple[int, int]:
        """Return the position a number of batches behind another; the end of an epoch is the beginning of the next."""
        epochs, rows = progress_after(self._plan.batches_from(rows), batches)
        return epoch + epochs, rows

    def _state(self, epoch: int, rows: int) -> MixtureState:
        datasets = (
            LoaderState(source.state.spec, source.state.tail, *self._plan.position(number, epoch, rows))
            for number, source in enumerate(self._sources)
        )
        weights = tuple(part.weight for part in self._plan.parts)
        return MixtureState(self._plan.stop, weights, epoch, rows, tuple(datasets))

    def _check_not_running(self, method: str) -> None:
        if self._running() is not None:
            raise UsageError(
                f"{method} is not possible while an iteration is under way",
                hint="call it before iter(), after the epoch, or after close()",
            )

    def _running(self) -> Batches | None:
        """Return the iterator that has not ended."""
        iteration = None if self._iteration is None else self._iteration()
        return None if iteration is None or getgeneratorstate(iteration) == GEN_CLOSED else iteration
