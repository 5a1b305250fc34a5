"""The one module that imports torch: tensors, and the part of a loader that runs in the workers of a ``DataLoader``."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any

import torch
from torch.utils.data import IterableDataset, get_worker_info

from millrace.errors import UsageError
from millrace.training.formats.worker_place import WorkerPlace, split_state

__all__ = ["IterableDataset", "InWorkers", "tensors"]

_WORKERS_MAX = 1024
_LOADED = -1
"""In place of an epoch: the loader was moved by ``load_state_dict``."""


def tensors(arrays: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Return a tensor for each array, which shares its memory."""
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


class _Moves:
    """The moves of a loader in the process of the training loop, in memory that its workers share.

    ``count`` is the number of moves and ``epoch`` the epoch of the last one. Each worker notes the last move after
    which it has begun to read. Fork and spawn share the memory; a copy that was pickled otherwise has its own.
    """

    def __init__(self) -> None:
        self._numbers = torch.zeros(2 + _WORKERS_MAX, dtype=torch.int64).share_memory_()
        self._numbers[0] = 1

    def __setstate__(self, state: dict[str, Any]) -> None:
        numbers = state["_numbers"]
        self._numbers = numbers if numbers.is_shared() else _Moves()._numbers

    @property
    def count(self) -> int:
        return int(self._numbers[0])

    @property
    def epoch(self) -> int:
        return int(self._numbers[1])

    @property
    def has_readers(self) -> bool:
        return bool((self._numbers[2:] == self._numbers[0]).any())

    def move(self, epoch: int) -> int:
        self._numbers[1] = epoch
        self._numbers[0] += 1
        return self.count

    def begin(self, worker: int, move: int) -> bool:
        """Note that a worker reads after a move; return whether it had begun before.

        The workers of an iteration that was left may still start after the next move.
        """
        last = int(self._numbers[2 + worker])
        self._numbers[2 + worker] = max(last, move)
        return last >= move


class InWorkers:
    """The part of a loader that runs in the workers of a ``DataLoader``: a base before the loader's class.

    Worker j of n delivers the batches j, j + n, ... of the rank, so that the ``DataLoader`` returns all in order. Each
    worker reads all chunks of the rank. The process of the training loop does not know how many batches were delivered:
    there, ``state_dict`` and a second epoch without ``set_epoch`` are refused.
    """

    epoch: int

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._moves = _Moves()
        self._moves_seen = self._moves.count
        self._place: WorkerPlace | None = None
        self._restored: WorkerPlace | None = None
        """The place from ``load_state_dict`` in a worker, until it iterates."""
        self._share: Generator[Any, None, None] | None = None

    def __iter__(self) -> Any:
        """Begin or continue an epoch; in a worker, its share of the batches."""
        worker = get_worker_info()
        if worker is None:
            self._check_no_readers("a second epoch without set_epoch")
            return super().__iter__()  # type: ignore[misc]
        if self._share is not None:
            self._share.close()
        try:
            self._share = self._share_of(worker)
        except UsageError as error:  # a worker that is used again would end without a message
            self._share = _ended(error)
        return self._share

    def _check_worker(self) -> None:
        """Allow each worker: it delivers its share of the batches."""

    def _share_of(self, worker: Any) -> Generator[Any, None, None]:
        restored, self._restored = self._restored, None
        self._place = place = restored or self._begun(worker)
        # The iteration after a restored one begins at the epoch to which the training loop has moved the loader.
        if restored is not None and (not place.is_over or self._moves.epoch < self.epoch):
            self._moves.begin(worker.id, self._moves_seen)
        if place.is_over:
            self._moves_seen = 0
            return _ended()
        return place.share(super().__iter__())  # type: ignore[misc]

    def set_epoch(self, epoch: int) -> None:
        """Go to the beginning of an epoch; workers go there with their next iteration."""
        super().set_epoch(epoch)  # type: ignore[misc]
        self._moves_seen = self._moves.move(epoch)

    def state_dict(self) -> dict[str, Any]:
        """Return the state; in a worker with its place, for ``StatefulDataLoader``, which restores each worker."""
        if get_worker_info() is None:
            self._check_no_readers("state_dict()")
        state: dict[str, Any] = super().state_dict()  # type: ignore[misc]
        return state if self._place is None else state | self._place.to_json(self.epoch)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to a position; in a worker, to that of the same worker."""
        worker = get_worker_info()
        if worker is None:
            super().load_state_dict(state)  # type: ignore[misc]
            self._moves_seen = self._moves.move(_LOADED)
        else:
            position, self._restored = split_state(state, worker.id, worker.num_workers)
            super().load_state_dict(position)  # type: ignore[misc]

    def _begun(self, worker: Any) -> WorkerPlace:
        """Return the place of a worker at the beginning of its iteration."""
        if worker.id >= _WORKERS_MAX:
            raise UsageError(f"a loader has at most {_WORKERS_MAX} workers", hint="use a smaller num_workers")
        if self._place is not None and self._moves_seen != self._moves.count:
            self._follow()
        if self._moves.begin(worker.id, self._moves_seen):
            raise _refused("a second epoch without set_epoch")
        return WorkerPlace(worker.id, worker.num_workers, epoch=self.epoch, skip=worker.id)

    def _follow(self) -> None:
        """Go where the loader was moved in the process of the training loop, after the last iteration here."""
        if self._moves.epoch == _LOADED:
            raise UsageError("load_state_dict does not reach these workers", hint="make a new DataLoader after it")
        super().set_epoch(self._moves.epoch)  # type: ignore[misc]
        self._moves_seen = self._moves.count

    def _check_no_readers(self, call: str) -> None:
        if self._moves.has_readers:
            raise _refused(call)


def _ended(error: UsageError | None = None) -> Generator[Any, None, None]:
    """Yield no batch; raise the error, if there is one, for the first."""
    if error is not None:
        raise error
    yield from ()


def _refused(call: str) -> UsageError:
    return UsageError(
        f"{call} is not possible: workers of a DataLoader read ahead, so it is unknown which batches were delivered",
        hint="count the steps and use state_at(step), call set_epoch(n) before each epoch, or use num_workers=0",
    )
