"""Lend decoded chunks in reused memory: concurrent users of one chunk share one fetch and its memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field

import pyarrow as pa

from millrace.dataset.reused_memory import ReusedMemory

Load = Callable[[ReusedMemory], pa.RecordBatch]


@dataclass(slots=True)
class _Loan:
    memory: ReusedMemory
    batch: Future[pa.RecordBatch] = field(default_factory=Future)
    users: int = 0


class ChunkLoans:
    """The chunks in use. There is at most one memory for each concurrent user; free ones are kept for the next loan.

    Safe to use from several threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loans: dict[Hashable, _Loan] = {}
        self._free: list[ReusedMemory] = []

    @contextmanager
    def lend(self, key: Hashable, load: Load, *, on_shared: Callable[[], None]) -> Iterator[pa.RecordBatch]:
        """Yield the chunk of ``key``, loaded by ``load`` unless another user has it already (then call ``on_shared``).

        The memory is reused when the last user has left the block. An error of ``load`` is raised for all its users;
        the next user loads again.
        """
        loan, is_first = self._join(key)
        try:
            if is_first:
                self._load(key, loan, load)
            batch = loan.batch.result()
            if not is_first:
                on_shared()
            yield batch
        finally:
            self._leave(key, loan)

    def _join(self, key: Hashable) -> tuple[_Loan, bool]:
        with self._lock:
            loan = self._loans.get(key)
            is_first = loan is None
            if loan is None:
                loan = self._loans[key] = _Loan(self._free.pop() if self._free else ReusedMemory())
            loan.users += 1
            return loan, is_first

    def _load(self, key: Hashable, loan: _Loan, load: Load) -> None:
        try:
            loan.batch.set_result(load(loan.memory))
        except BaseException as error:  # noqa: BLE001  (raised by ``result`` for every user)
            with self._lock:
                del self._loans[key]
            loan.batch.set_exception(error)

    def _leave(self, key: Hashable, loan: _Loan) -> None:
        with self._lock:
            loan.users -= 1
            if loan.users:
                return
            if self._loans.get(key) is loan:
                del self._loans[key]
            self._free.append(loan.memory)
