"""Count the times that a training loop waits for data, in a histogram of fixed size."""

from __future__ import annotations

import math
from typing import Final

LEAST_S: Final = 1e-6
LARGEST_S: Final = 1e3
GROWTH: Final = 0.04
"""The logarithm of the quotient of two neighbouring bounds: a quantile is at most 2 % off."""
_BUCKETS_PER_E: Final = 1 / GROWTH
_OFFSET: Final = 1 - math.floor(math.log(LEAST_S) * _BUCKETS_PER_E)
BUCKETS: Final = math.ceil(math.log(LARGEST_S) * _BUCKETS_PER_E) + _OFFSET + 1
"""The first bucket has the times below ``LEAST_S``, the last one those above ``LARGEST_S``."""


class WaitTimes:
    """A histogram of waiting times with logarithmic bounds from a microsecond to a thousand seconds.

    One thread adds. Others may read at the same time; they see each time or do not see it yet.
    """

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts = [0] * BUCKETS

    def add(self, seconds: float) -> None:
        """Count one waiting time. It takes less than a microsecond."""
        if seconds < LEAST_S:
            self._counts[0] += 1
        elif seconds < LARGEST_S:
            self._counts[math.floor(math.log(seconds) * _BUCKETS_PER_E) + _OFFSET] += 1
        else:
            self._counts[-1] += 1

    def merge(self, other: WaitTimes) -> None:
        """Add the times that ``other`` has counted."""
        self._counts = [mine + theirs for mine, theirs in zip(self._counts, other._counts, strict=True)]

    @property
    def count(self) -> int:
        """Return the number of times added."""
        return sum(self._counts)

    def quantile(self, q: float) -> float | None:
        """Return a time in seconds that a share ``q`` of the times does not exceed; ``None`` if none was added.

        The time is within 2 % of an added one between ``LEAST_S`` and ``LARGEST_S``. Times outside of these bounds
        count as the nearer bound.
        """
        counts = list(self._counts)
        remaining = max(math.ceil(q * sum(counts)), 1)
        for bucket, count in enumerate(counts):
            remaining -= count
            if remaining <= 0:
                return _middle_s(bucket)
        return None


def _middle_s(bucket: int) -> float:
    """Return the geometric mean of the bounds of a bucket."""
    return min(max(math.exp((bucket - _OFFSET + 0.5) * GROWTH), LEAST_S), LARGEST_S)
