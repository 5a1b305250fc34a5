"""Parallel processing of blocks, with results in order and a bound on the bytes in flight."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["in_order", "worker_count"]

Item = TypeVar("Item")
Result = TypeVar("Result")

_IN_FLIGHT_BYTES = 24 << 20


def worker_count() -> int:
    """Return the number of cores that this process may use, at most 8: more threads use memory and add no speed."""
    return min(8, len(os.sched_getaffinity(0)))


def in_order(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    size_of: Callable[[Item], int],
    workers: int | None = None,
) -> Generator[tuple[Item, Future[Result]], None, None]:
    """Yield pairs of item and finished future, in the order of ``items``.

    No item is taken while 24 MB of items are in flight, so one item is always allowed, however large. An error of
    ``function`` stays in its future. An error of ``items`` is raised after all earlier items were yielded. Closing the
    iterator cancels waiting calls and waits only for running ones.
    """
    threads = workers or worker_count()
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    in_flight = 0
    pool = ThreadPoolExecutor(threads, thread_name_prefix="millrace-parse")
    source = iter(items)
    failure: BaseException | None = None
    try:
        more = True
        while more or waiting:
            while more and len(waiting) < threads + 2 and in_flight < _IN_FLIGHT_BYTES:
                try:
                    item = next(source)
                except StopIteration:
                    more = False
                except Exception as error:  # noqa: BLE001  (raised below, after the earlier items)
                    more, failure = False, error
                else:
                    in_flight += size_of(item)
                    waiting.append((item, pool.submit(function, item)))
            if waiting:
                item, future = waiting.popleft()
                future.exception()  # waits
                in_flight -= size_of(item)
                yield item, future
        if failure is not None:
            raise failure
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        if isinstance(source, Generator):
            source.close()
