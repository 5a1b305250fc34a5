from __future__ import annotations

import itertools
import math

from hypothesis import given
from hypothesis import strategies as st

from millrace.progress.curves import POINTS_MAX, Curve


@given(st.integers(1, 3000))
def test_a_curve_of_any_length_keeps_its_ends_and_at_most_256_true_points(length: int) -> None:
    curve = Curve()
    for step in range(length):
        curve.add(step, step * 0.5)
        assert len(curve.points()) <= POINTS_MAX
    points = curve.points()
    assert points[0] == [0, 0.0]
    assert points[-1] == [length - 1, (length - 1) * 0.5]
    assert all(value == step * 0.5 for step, value in points)
    steps = [step for step, _ in points]
    assert steps == sorted(set(steps))
    assert len(points) >= min(length, POINTS_MAX // 2)


def test_a_curve_of_100_000_steps_has_no_large_gap() -> None:
    curve = Curve()
    for step in range(100_000):
        curve.add(step, 1.0)
    steps = [step for step, _ in curve.points()]
    assert max(b - a for a, b in itertools.pairwise(steps)) <= 100_000 / (POINTS_MAX / 2 - 1)


def test_a_value_that_is_not_finite_becomes_null() -> None:
    curve = Curve()
    curve.add(1, math.nan)
    curve.add(2, math.inf)
    assert curve.points() == [[1, None], [2, None]]


def test_a_curve_without_points_is_empty() -> None:
    assert Curve().points() == []
