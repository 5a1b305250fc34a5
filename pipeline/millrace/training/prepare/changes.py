"""Compare the recipes of two versions of training data."""

from __future__ import annotations

from typing import Any, Final

from millrace.dataset import Recipe

CLASSES_MAX: Final = 100
"""Classes of a target that a report lists; the recipe has all of them."""
FEATURES_MAX: Final = 100
"""Features that a report compares: a stored report has at most 64,000 bytes."""


def changes_between(before: Recipe, after: Recipe) -> dict[str, Any]:
    """Return the rows, the share of each class, and each feature's nulls and mean, as pairs of before and after.

    The shares are those over all splits. A feature that only one version has is left out, and so is one without a
    change. Of more than ``FEATURES_MAX`` features those are left out whose mean changed least, in standard deviations.
    """
    changed = [name for name in after.statistics if name in before.statistics and _pairs(before, after, name)]
    first = sorted(changed, key=lambda name: -_shift(before, after, name))[:FEATURES_MAX]
    return {
        "rows": [_rows(before), _rows(after)],
        "target_share": [_shares(before), _shares(after)],
        "features": {name: _pairs(before, after, name) for name in first},
    }


def _pairs(before: Recipe, after: Recipe, name: str) -> dict[str, list[Any]]:
    """Return nulls and mean of a feature; empty if both are unchanged."""
    figures = {
        figure: [recipe.statistics[name].get(figure) for recipe in (before, after)] for figure in ("nulls", "mean")
    }
    return figures if any(old != new for old, new in figures.values()) else {}


def _shift(before: Recipe, after: Recipe, name: str) -> float:
    old, new = before.statistics[name].get("mean"), after.statistics[name].get("mean")
    deviation = before.statistics[name].get("std")
    return abs(new - old) / deviation if old is not None and new is not None and deviation else 0.0


def _rows(recipe: Recipe) -> int:
    return sum(int(figures["rows"]) for figures in recipe.splits.values())


def _shares(recipe: Recipe) -> list[float] | None:
    """Return the share of each class, in the order of the classes; None for a number, and for too many classes."""
    if recipe.classes is None or len(recipe.classes) > CLASSES_MAX:
        return None
    places = range(len(recipe.classes))
    counts = [sum(figures["classes"][place] for figures in recipe.splits.values()) for place in places]
    return [round(count / max(1, sum(counts)), 6) for count in counts]
