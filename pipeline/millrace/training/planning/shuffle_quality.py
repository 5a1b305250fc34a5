"""Judge an order by the batches of a column that is sorted in stored order, which is the worst case for a shuffle."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile
from typing import Final

import numpy as np
from numpy.typing import NDArray

from millrace.training.order import BatchPlan, Order, Shuffle, Window

SAMPLED_ROWS_MAX: Final = 4_000_000


def shuffle_quality(order: Order, plan: BatchPlan, *, epoch: int = 0, rows_max: int = SAMPLED_ROWS_MAX) -> float | None:
    """Return how many times as much the mean of a batch varies as it does under a full shuffle; 1.0 is a full shuffle.

    The mean is that of a value that grows by the stored order: the row's index in the split. Batches are those of an
    epoch, up to ``rows_max`` rows. A rank's own batches vary more. None if there are fewer than two batches, and for
    the stored order, whose batches are close to each other by construction.
    """
    batches = min(plan.batches, max(2, rows_max // plan.global_batch_rows))
    full = batches - 1 if plan.batches == batches else batches  # the last one of an epoch may have another size
    if full < 2 or order.spec.shuffle is Shuffle.NONE:
        return None
    sums = sum(_lane_sums(order, plan, lane, epoch, full) for lane in range(plan.lanes))
    spread = float(np.std(sums / plan.global_batch_rows))
    # Variance of the mean of n of N equally likely values 0 to N - 1, drawn without replacement.
    rows, batch_rows = order.rows, plan.global_batch_rows
    expected = float(np.sqrt((rows + 1) * (rows - batch_rows) / (12 * batch_rows)))
    return spread / expected if expected else None


def _lane_sums(order: Order, plan: BatchPlan, lane: int, epoch: int, batches: int) -> NDArray[np.float64]:
    """Return the sum of the row indices that a lane gives to each of the first batches."""
    stop = batches * plan.lane_batch_rows
    windows = takewhile(lambda window: window.first_row < stop, order.windows(lane, epoch))
    ordered = np.concatenate(list(_ordered_rows(order, windows)))[:stop]
    sums: NDArray[np.float64] = ordered.reshape(batches, plan.lane_batch_rows).sum(axis=1, dtype=np.float64)
    return sums


def _ordered_rows(order: Order, windows: Iterator[Window]) -> Iterator[NDArray[np.int64]]:
    """Yield the index in the split of each row of a window, in the order of delivery."""
    for window in windows:
        rows = np.empty(window.rows, np.int64)
        rows[order.positions(window)] = np.concatenate(
            [
                np.arange(fragment.first_row, fragment.first_row + fragment.rows) + order.chunk_starts[fragment.chunk]
                for fragment in window.fragments
            ]
        )
        yield rows
