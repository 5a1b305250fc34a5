"""Run calls ahead in several threads, and deliver their results in order with bounds on unfinished work."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def worker_count() -> int:
    """Return the number of cores that this process may use, at most 8, because more threads only use more memory."""
    return min(8, len(os.sched_getaffinity(0)))


def in_order(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    threads: int,
    name: str,
    items_max: int | None = None,
    unfinished_max: int | None = None,
    bytes_max: int | None = None,
    size_of: Callable[[Item], int] = lambda _: 0,
) -> Generator[tuple[Item, Future[Result]], None, None]:
    """Yield pairs of item and finished future, in the order of ``items``; ``name`` begins the names of the threads.

    An item is submitted only if afterwards there are at most ``items_max`` items, ``unfinished_max`` unfinished calls
    and ``bytes_max`` bytes. An item counts from its submission until the caller asks for the pair after it. A single
    item is always submitted. ``size_of`` is called once for each item, before its call starts.

    An error of ``function`` stays in its future. An error of ``items`` is raised after all earlier items were yielded.
    Closing the generator cancels queued calls and closes ``items``; the threads end with their running calls.
    """
    waiting: deque[tuple[Item, int, Future[Result]]] = deque()
    submitted_bytes = 0

    def is_full(next_bytes: int) -> bool:
        return (
            (items_max is not None and len(waiting) >= items_max)
            or (bytes_max is not None and submitted_bytes + next_bytes > bytes_max)
            or (unfinished_max is not None and sum(not call.done() for *_, call in waiting) >= unfinished_max)
        )

    pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
    source = iter(items)
    failure: Exception | None = None
    try:
        while failure is None:
            try:
                item = next(source)
            except StopIteration:
                break
            except Exception as error:  # noqa: BLE001  (raised below, after the earlier items)
                failure = error
                break
            item_bytes = size_of(item)
            while waiting and is_full(item_bytes):
                yield _finished(waiting[0])
                submitted_bytes -= waiting.popleft()[1]
            waiting.append((item, item_bytes, pool.submit(function, item)))
            submitted_bytes += item_bytes
        while waiting:
            yield _finished(waiting.popleft())
        if failure is not None:
            raise failure
    finally:
        # Waiting for the threads could deadlock: the garbage collector may run this block for an abandoned generator in
        # any thread, such as one of the pool or one that a running call waits for.
        pool.shutdown(wait=False, cancel_futures=True)
        if isinstance(source, Generator):
            source.close()


def _finished(entry: tuple[Item, int, Future[Result]]) -> tuple[Item, Future[Result]]:
    item, _, call = entry
    call.exception()  # waits
    return item, call
