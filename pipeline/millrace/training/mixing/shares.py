"""Share units among datasets by weight, exactly over any number of units."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

from millrace.errors import UsageError


def whole_weights(weights: Sequence[float]) -> tuple[int, ...]:
    """Return whole numbers in the same proportion; 0.1 means a tenth, not its nearest binary fraction."""
    for weight in weights:
        if not (math.isfinite(weight) and weight > 0):
            raise UsageError(
                f"the weight {weight} is not a number above 0", hint="leave the dataset out of the mixture"
            )
    fractions = [Fraction(str(weight)) for weight in weights]
    scale = math.lcm(*(fraction.denominator for fraction in fractions))
    return tuple(int(fraction * scale) for fraction in fractions)


def shares(weights: Sequence[int], units: int) -> list[int]:
    """Return how many of the first ``units`` units each dataset gives, by the rule of Sainte-Laguë.

    Unit after unit goes to the dataset with the least ``(2 * given + 1) / weight``. So no share falls when ``units``
    grows, which largest remainders do not guarantee, and a share differs from its exact part by less than
    ``(1 + len(weights) * part) / 2``. The time does not depend on ``units``.
    """
    total, datasets = sum(weights), len(weights)
    # Units up to the quotient ``units - datasets / 2`` have been given for certain; at most ``datasets`` remain.
    quotient = max(0, 2 * units - datasets)
    given = [(quotient * weight + total) // (2 * total) if quotient else 0 for weight in weights]
    for _ in range(units - sum(given)):
        given[_next_dataset(weights, given)] += 1
    return given


def _next_dataset(weights: Sequence[int], given: Sequence[int]) -> int:
    return min(range(len(weights)), key=lambda each: (Fraction(2 * given[each] + 1, weights[each]), each))
