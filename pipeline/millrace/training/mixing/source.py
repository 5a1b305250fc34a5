"""The part of a loader that a mixture uses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from millrace.training.columns import Plan
from millrace.training.formats import Batch
from millrace.training.mixing.mixed_batch import Columns
from millrace.training.mixing.plan import Stretch
from millrace.training.state import LoaderState


class MixedSource(Protocol):
    """The rows of one dataset for one rank of a mixture."""

    @property
    def state(self) -> LoaderState:
        """The order of the dataset."""

    @property
    def plans(self) -> Sequence[Plan]:
        """The columns."""

    @property
    def lanes(self) -> range:
        """The lanes of the rank."""

    @property
    def prefetch_bytes(self) -> int:
        """The bound of the memory of the rows that are read ahead."""

    @property
    def tiers(self) -> Mapping[str, int]:
        """The chunks read from each tier."""

    def make_batch(self, columns: Columns) -> Batch:
        """Return a batch of these columns in the format of the loader."""

    def blocks(self, stretches: Iterator[Stretch]) -> Iterator[tuple[Columns, int]]:
        """Yield the rows of the stretches in order: columns, and their rows of each lane.

        A block is valid until the one after the next is asked for. Only the newest iterator is used.
        """

    def close(self) -> None:
        """Release threads, memory, lease and connections."""
