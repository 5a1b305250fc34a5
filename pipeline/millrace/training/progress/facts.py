"""The facts of one rank of a training job that its progress is made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from millrace.training.progress.wait_times import WaitTimes


@dataclass(frozen=True, slots=True)
class TrainingFacts:
    """The position of one rank in its data, at one moment.

    Rows and steps before a resume count: ``step`` is the number of batches of the present size from the beginning of
    the epoch to the newest one that the loop has received, and ``rows`` is the number of the rank's rows in them.
    """

    dataset: str
    """The name of the dataset, without its version."""
    split: str = ""
    rank: int = 0
    world_size: int = 1
    epoch: int = 0
    """The epoch of the newest batch, from 0."""
    step: int = 0
    """The batches received in this epoch; in all epochs if ``steps`` is 0."""
    steps: int = 0
    """The batches of one epoch; 0 if unknown."""
    rows: int = 0
    """The rank's rows received in this epoch; in all epochs if ``total_rows`` is 0."""
    total_rows: int = 0
    """The rank's rows in one epoch; 0 if unknown."""
    tiers: Mapping[str, int] = field(default_factory=dict)
    """The chunks read from each tier since the loader began: ``process``, ``redis``, ``cassandra``."""
    prefetch_bytes: int = 0
    """The bound of the memory of this rank's batches and chunks in flight; 0 if unknown."""
    waits: WaitTimes = field(default_factory=WaitTimes)
    """The time that each ``next`` of the loop has waited for its batch: the histogram itself, not a copy."""

    @property
    def position_rows(self) -> int:
        """Return the rank's rows from the beginning of epoch 0, if each epoch was read whole."""
        return self.epoch * self.total_rows + self.rows

    @property
    def position_steps(self) -> int:
        """Return the steps from the beginning of epoch 0."""
        return self.epoch * self.steps + self.step


class FactsSource(Protocol):
    """A loader, or the counter of a loop that has a loader of its own."""

    def facts(self) -> TrainingFacts:
        """Return the facts of this moment, within microseconds.

        Several threads call it while the loop runs. It takes no lock that is held during a request or a wait.
        """
