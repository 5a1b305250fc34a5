"""The dataset of a loader as a source of a mixture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from millrace.training.columns import Plan
from millrace.training.formats import Batch
from millrace.training.loader import TrainingLoader
from millrace.training.mixing.mixed_batch import Columns
from millrace.training.mixing.plan import Stretch
from millrace.training.order import BatchPlan, Tail
from millrace.training.state import LoaderState


class LoaderSource:
    """A copy of a loader that reads blocks of ``lane_batch_rows`` rows of each lane, untransformed.

    The tail of the copy is ``UNEVEN``: the last block of a stretch has the rest of it.
    """

    def __init__(self, loader: TrainingLoader, lane_batch_rows: int) -> None:
        lanes = loader.options.lanes
        self.state: LoaderState = loader.outline.state
        self.lanes: range = loader.outline.lanes
        self._loader = loader.with_options(global_batch_rows=lane_batch_rows * lanes, tail=Tail.UNEVEN)
        self.plans: Sequence[Plan] = self._loader.plans

    @property
    def prefetch_bytes(self) -> int:
        """The bound of the memory of the rows that are read ahead."""
        return self._loader.prefetch_bytes

    @property
    def tiers(self) -> Mapping[str, int]:
        """The chunks read from each tier."""
        return self._loader.facts().tiers

    def make_batch(self, columns: Columns) -> Batch:
        """Return a batch of these columns in the format of the loader."""
        return self._loader.make_batch(columns)

    def blocks(self, stretches: Iterator[Stretch]) -> Iterator[tuple[Columns, int]]:
        """Begin to read, and return the rows of the stretches in order: columns, and their rows of each lane."""
        outline = self._loader.outline
        lanes = len(outline.lane_rows)
        return self._loader.blocks(
            (each.epoch, BatchPlan((each.stop,) * lanes, outline.global_batch_rows, Tail.UNEVEN, each.first))
            for each in stretches
        )

    def close(self) -> None:
        """Release threads, memory, lease and connections."""
        self._loader.close()
