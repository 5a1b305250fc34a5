"""The share of one worker of a ``DataLoader`` in the batches of a rank."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

from millrace.errors import UsageError

_OVER = -1
"""In place of the number of batches to skip: the epoch has no further batch for this worker."""
_KEY = "worker"


class Closable(Protocol):
    """An iterator that can be ended."""

    def __iter__(self) -> Any:
        """Return itself."""

    def close(self) -> None:
        """End the iteration."""


@dataclass
class WorkerPlace:
    """Worker ``worker`` of ``workers``, in ``epoch``; it passes over ``skip`` batches before its next one."""

    worker: int
    workers: int
    epoch: int
    skip: int

    @property
    def is_over(self) -> bool:
        """Return whether the epoch has no further batch for this worker."""
        return self.skip == _OVER

    def share(self, batches: Closable) -> Generator[Any, None, None]:
        """Yield every batch of this worker, and keep ``skip`` up to date."""
        try:
            for batch in islice(batches, self.skip, None, self.workers):
                self.skip = self.workers - 1
                yield batch
            self.skip = _OVER
        finally:
            batches.close()

    def to_json(self, epoch: int) -> dict[str, Any]:
        """Return the part of the state that tells this place, while the loader stands in ``epoch``."""
        return {_KEY: [self.worker, self.workers, self.skip if epoch == self.epoch else _OVER]}


def split_state(state: Mapping[str, Any], worker: int, workers: int) -> tuple[dict[str, Any], WorkerPlace]:
    """Return the position of the loader, and the place in its epoch, from the state of a worker.

    Raises ``UsageError`` for the state of another worker, and for one of a loader without workers.
    """
    position = dict(state)
    place = position.pop(_KEY, None)
    if not isinstance(place, list) or place[:2] != [worker, workers]:
        source = f"worker {place[0]} of {place[1]}" if isinstance(place, list) else "a loader without workers"
        raise UsageError(
            f"the state of {source} does not fit worker {worker} of {workers}",
            hint="resume with the same num_workers, or load loader.state_at(step) before the DataLoader is made",
        )
    return position, WorkerPlace(worker, workers, epoch=int(position["epoch"]), skip=int(place[2]))
