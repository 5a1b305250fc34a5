"""Apply the caller's function to batches ahead of the consumer, in order and within a bound in bytes."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import Any

from millrace.parallel import in_order
from millrace.training.formats import Batch

AHEAD: int = 4
"""Batches that wait transformed, at most."""


def transformed(
    batches: Iterator[Batch], transform: Callable[[Batch], Batch], *, bytes_max: int
) -> Generator[Batch, None, None]:
    """Yield ``transform(batch)`` for each batch, computed by one thread ahead of the consumer.

    At most ``AHEAD`` results and ``bytes_max`` bytes of them wait; a single one is always computed. The size of a
    result is taken to be that of the largest one before. The error of a call is raised in place of its batch.
    """
    largest_bytes = 0

    def measured(batch: Batch) -> Batch:
        nonlocal largest_bytes
        result = transform(batch)
        largest_bytes = max(largest_bytes, batch_bytes(batch), batch_bytes(result))
        return result

    results = in_order(
        measured,
        batches,
        threads=1,
        name="millrace-transform",
        items_max=AHEAD,
        bytes_max=bytes_max,
        size_of=lambda _: largest_bytes or bytes_max,  # the first result is computed alone, because its size is unknown
    )
    with closing(results):
        for _, call in results:
            yield call.result()


def batch_bytes(batch: Any) -> int:
    """Return the bytes of the arrays, tensors and RecordBatches in a batch; 0 for objects of unknown size."""
    if isinstance(batch, dict):
        return sum(map(batch_bytes, batch.values()))
    if isinstance(batch, list | tuple):
        return sum(map(batch_bytes, batch))
    return int(getattr(batch, "nbytes", 0))
