"""Compare the recipes of two versions of training data."""

from __future__ import annotations

from typing import Any

from millrace.dataset import Recipe


def changes_between(before: Recipe, after: Recipe) -> dict[str, Any]:
    """Return the rows, the target's share and each feature's nulls and mean, as pairs of before and after.

    The share is that of each class over all splits. A feature that only one version has is left out.
    """
    common = [name for name in after.statistics if name in before.statistics]
    return {
        "rows": [_rows(before), _rows(after)],
        "target_share": [_shares(before), _shares(after)],
        "features": {
            name: {
                figure: [before.statistics[name][figure], after.statistics[name][figure]]
                for figure in ("nulls", "mean")
            }
            for name in common
            if _figures(before, name) != _figures(after, name)
        },
    }


def _figures(recipe: Recipe, name: str) -> tuple[Any, Any]:
    return recipe.statistics[name]["nulls"], recipe.statistics[name]["mean"]


def _rows(recipe: Recipe) -> int:
    return sum(int(figures["rows"]) for figures in recipe.splits.values())


def _shares(recipe: Recipe) -> list[float] | None:
    """Return the share of each class, in the order of the classes; None for a target that is a number."""
    if recipe.classes is None:
        return None
    counts = [
        sum(figures["classes"][place] for figures in recipe.splits.values()) for place in range(len(recipe.classes))
    ]
    return [round(count / max(1, sum(counts)), 6) for count in counts]
