"""Lend decoded chunks in reused memory: concurrent users of one chunk share one fetch and its memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import pyarrow as pa

from millrace.dataset.reused_memory import ReusedMemory

Load = Callable[[ReusedMemory], pa.RecordBatch]


@dataclass(slots=True)
class _Loan:
    memory: ReusedMemory
    free: list[ReusedMemory]
    """The free memories of the lender, to which the memory returns."""
    batch: Future[pa.RecordBatch] = field(default_factory=Future)
    users: int = 0


class LoansInUse:
    """The loans of all lenders that read through one connection; see ``loans_through``."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.by_key: dict[Hashable, _Loan] = {}


_IN_USE: WeakKeyDictionary[object, LoansInUse] = WeakKeyDictionary()


def loans_through(connection: object) -> LoansInUse:
    """Return the loans that all lenders with this connection share.

    A forked process opens a connection of its own, so no lock that another thread held at the fork is used in it.
    """
    return _IN_USE.setdefault(connection, LoansInUse())


class ChunkLoans:
    """A lender of chunks. It has at most one memory for each of its concurrent users, and keeps the free ones.

    Lenders with the same ``in_use`` share the chunks that are in use. Safe to use from several threads.
    """

    def __init__(self, in_use: LoansInUse) -> None:
        self._in_use = in_use
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
        with self._in_use.lock:
            loan = self._in_use.by_key.get(key)
            is_first = loan is None
            if loan is None:
                memory = self._free.pop() if self._free else ReusedMemory()
                loan = self._in_use.by_key[key] = _Loan(memory, self._free)
            loan.users += 1
            return loan, is_first

    def _load(self, key: Hashable, loan: _Loan, load: Load) -> None:
        try:
            loan.batch.set_result(load(loan.memory))
        except BaseException as error:  # noqa: BLE001  (raised by ``result`` for every user)
            with self._in_use.lock:
                del self._in_use.by_key[key]
            loan.batch.set_exception(error)

    def _leave(self, key: Hashable, loan: _Loan) -> None:
        with self._in_use.lock:
            loan.users -= 1
            if loan.users:
                return
            if self._in_use.by_key.get(key) is loan:
                del self._in_use.by_key[key]
            loan.free.append(loan.memory)
