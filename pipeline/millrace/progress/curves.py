"""Keep training curves of any length in bounded memory: at most 256 points a metric. First and last point are kept."""

from __future__ import annotations

import math
from typing import Any, Final

from millrace.progress.values import finite_number

POINTS_MAX: Final = 256
SERIES_MAX: Final = 16


Point = list[Any]
"""``[step, value]``; the value is ``None`` if it was not finite."""


class Curve:
    """One metric by step. ``points()`` never returns more than 256 pairs, however many were added.

    It returns the first and the newest point and every k-th point in between, with k a power of two. Each value is an
    added one, never an average. A value that is not finite becomes ``None``, because JSON cannot represent it. Not
    thread-safe.
    """

    __slots__ = ("_kept", "_newest", "_seen", "_stride")

    def __init__(self) -> None:
        self._kept: list[Point] = []
        self._newest: Point | None = None
        self._seen = 0
        self._stride = 1

    def add(self, step: float, value: float) -> None:
        """Add one point; constant time on average."""
        point: Point = [step, value if math.isfinite(value) else None]
        if self._seen % self._stride == 0:
            # One of the POINTS_MAX points is reserved for the newest one.
            if len(self._kept) == POINTS_MAX - 1:
                del self._kept[1::2]
                self._stride *= 2
            if self._seen % self._stride == 0:
                self._kept.append(point)
        self._seen += 1
        self._newest = point

    def points(self) -> list[Point]:
        """Return the pairs ``[step, value]`` in the order of their addition."""
        if self._newest is None or self._kept[-1] is self._newest:
            return list(self._kept)
        return [*self._kept, self._newest]


class Curves:
    """The curves of one attempt by metric; at most ``SERIES_MAX`` metrics have one. Not thread-safe."""

    def __init__(self) -> None:
        self._curves: dict[str, Curve] = {}

    def add(self, metric: str, step: float, value: float) -> bool:
        """Add a point and return True; return False for a further metric, and for a step that is not finite."""
        number, measured = finite_number(step), finite_number(value)
        if number is None or (metric not in self._curves and len(self._curves) >= SERIES_MAX):
            return False
        self._curves.setdefault(metric, Curve()).add(number, math.nan if measured is None else measured)
        return True

    def series(self) -> dict[str, list[Point]]:
        """Return the points of each metric."""
        return {metric: curve.points() for metric, curve in self._curves.items()}
