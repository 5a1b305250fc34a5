"""Training curves of any length in bounded memory: at most 256 points a metric, first and last among them."""

from __future__ import annotations

import math
from typing import Any, Final

__all__ = ["POINTS_MAX", "SERIES_MAX", "Curve"]

POINTS_MAX: Final = 256
SERIES_MAX: Final = 16


Point = list[Any]
"""``[step, value]``; the value is ``None`` where it was not finite."""


class Curve:
    """One metric by step. ``points()`` never holds more than 256 pairs, whatever was added.

    The first and the newest point are always among them, and in between every k-th, with k a power of two:
    each is a value that was really seen, none an average. A value that is not finite becomes ``None``, because
    JSON has no word for it. Not thread-safe.
    """

    __slots__ = ("_kept", "_newest", "_seen", "_stride")

    def __init__(self) -> None:
        self._kept: list[Point] = []
        self._newest: Point | None = None
        self._seen = 0
        self._stride = 1

    def add(self, step: float, value: float) -> None:
        """Take one point; constant time on average."""
        point: Point = [step, value if math.isfinite(value) else None]
        if self._seen % self._stride == 0:
            # One place stays free for the newest point.
            if len(self._kept) == POINTS_MAX - 1:
                del self._kept[1::2]
                self._stride *= 2
            if self._seen % self._stride == 0:
                self._kept.append(point)
        self._seen += 1
        self._newest = point

    def points(self) -> list[Point]:
        """The pairs ``[step, value]`` in the order in which they came."""
        if self._newest is None or self._kept[-1] is self._newest:
            return list(self._kept)
        return [*self._kept, self._newest]
