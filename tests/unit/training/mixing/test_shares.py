"""Shares by weight: exact sums, never falling, near the exact part, and the same as giving unit after unit."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.errors import UsageError
from millrace.training.mixing.shares import shares, whole_weights

WEIGHTS = st.lists(st.integers(1, 1000), min_size=1, max_size=6)


@given(weights=WEIGHTS, units=st.integers(0, 10**15))
def test_shares_have_the_exact_sum_and_are_near_their_part(weights: list[int], units: int) -> None:
    given_units = shares(weights, units)
    assert sum(given_units) == units
    for weight, share in zip(weights, given_units, strict=True):
        part = Fraction(weight, sum(weights))
        assert abs(share - units * part) <= (1 + len(weights) * part) / 2


@given(weights=WEIGHTS, units=st.integers(0, 10**15))
def test_one_more_unit_is_one_more_unit_of_one_dataset(weights: list[int], units: int) -> None:
    steps = [after - before for before, after in zip(shares(weights, units), shares(weights, units + 1), strict=True)]
    assert sorted(steps) == [0] * (len(weights) - 1) + [1]


@given(weights=WEIGHTS, units=st.integers(0, 200))
def test_shares_are_those_of_giving_unit_after_unit(weights: list[int], units: int) -> None:
    given_units = [0] * len(weights)
    for _ in range(units):
        nearest = min(range(len(weights)), key=lambda each: (Fraction(2 * given_units[each] + 1, weights[each]), each))
        given_units[nearest] += 1
    assert shares(weights, units) == given_units


def test_the_shares_of_seven_to_three_are_the_same_for_ever() -> None:
    assert [shares([7, 3], units)[1] for units in range(21)] == [
        0, 0, 1, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 6, 6,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("weights", "whole"),
    [((0.7, 0.3), (7, 3)), ((1, 1), (1, 1)), ((0.1, 1), (1, 10)), ((0.25, 1.5), (1, 6)), ((1e-3, 1), (1, 1000))],
)
def test_weights_mean_the_decimal_number_that_is_written(weights: tuple[float, ...], whole: tuple[int, ...]) -> None:
    assert whole_weights(weights) == whole


@pytest.mark.parametrize("weight", [0, -1, float("nan"), float("inf")])
def test_a_weight_that_is_not_above_zero_is_refused(weight: float) -> None:
    with pytest.raises(UsageError, match=f"the weight {weight} is not a number above 0"):
        whole_weights([1, weight])
