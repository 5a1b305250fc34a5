"""The limits of ``expect``: rows, dropped rows, and the share of a class in the target."""

from __future__ import annotations

from millrace.dataset import Recipe
from millrace.training.prepare.entry import TARGET, Expectations


def check_expectations(expect: Expectations, recipe: Recipe) -> list[str]:
    """Return one line for each limit that the figures of a recipe exceed; an empty list allows to publish."""
    return [line for line in (_rows(expect, recipe), _dropped(expect, recipe), _share(expect, recipe)) if line]


def _rows(expect: Expectations, recipe: Recipe) -> str:
    rows = sum(split["rows"] for split in recipe.splits.values())
    if expect.rows_min is None or rows >= expect.rows_min:
        return ""
    return f"rows_min: {rows:,} rows are left, and at least {expect.rows_min:,} are expected"


def _dropped(expect: Expectations, recipe: Recipe) -> str:
    dropped = sum(recipe.dropped.values())
    percent = 100 * dropped / recipe.rows_in if recipe.rows_in else 0.0
    if expect.dropped_max_percent is None or percent <= expect.dropped_max_percent:
        return ""
    reasons = ", ".join(f"{reason}: {rows:,}" for reason, rows in recipe.dropped.items() if rows)
    return (
        f"dropped_max_percent: {percent:.4g} % of {recipe.rows_in:,} rows were dropped, and at most "
        f"{expect.dropped_max_percent:g} % are expected ({reasons})"
    )


def _share(expect: Expectations, recipe: Recipe) -> str:
    if expect.target_share is None:
        return ""
    low, high = expect.target_share
    share = target_share(recipe)
    if share is None:
        return "target_share: the target has classes besides true and false; leave target_share out"
    if low <= share <= high:
        return ""
    return f"target_share: it is {share:.4g}, and {low:g} to {high:g} are expected"


def target_share(recipe: Recipe) -> float | None:
    """Return the share of the class true, or 1, in all splits; the mean of train for a target that is a number.

    None for classes besides these.
    """
    if recipe.classes is None:
        mean = recipe.statistics.get(TARGET, {}).get("mean")
        return None if mean is None else float(mean)
    if not set(recipe.classes) <= {0, 1}:
        return None
    counts = [split["classes"] for split in recipe.splits.values()]
    of_true = sum(rows for split in counts for value, rows in zip(recipe.classes, split, strict=True) if value)
    rows = sum(map(sum, counts))
    return of_true / rows if rows else None
