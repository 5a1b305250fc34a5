"""Print the recipe of training data: rows and classes of each split, and the statistics of the features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from millrace.cli.output import print_table

_CLASSES_SHOWN: Final = 5
_FIGURES: Final = ("count", "nulls", "mean", "std", "min", "max")


def print_recipe(recipe: Mapping[str, Any]) -> None:
    """Print the tables of a recipe as ``Recipe.to_json`` gives it."""
    classes = recipe["classes"] or ()
    shown = classes[:_CLASSES_SHOWN]
    print()
    print_table(
        ["split", "rows", *(f"share of {value}" for value in shown)],
        [(name, f"{figures['rows']:,}", *_shares(figures, len(shown))) for name, figures in recipe["splits"].items()],
        right=["rows", *(f"share of {value}" for value in shown)],
    )
    print()
    print_table(
        ["train statistics of", *_FIGURES, "categories", "nulls become"],
        [_feature(name, recipe) for name in recipe["features"]],
        right=list(_FIGURES),
        folding=["train statistics of"],
    )


def _shares(figures: Mapping[str, Any], shown: int) -> list[str]:
    rows = max(1, figures["rows"])
    return [f"{count / rows:.1%}" for count in (figures["classes"] or ())[:shown]]


def _feature(name: str, recipe: Mapping[str, Any]) -> tuple[str, ...]:
    figures = recipe["statistics"].get(name, {})
    categories = recipe["categories"].get(name)
    return (
        name,
        *(_number(figures.get(figure)) for figure in _FIGURES),
        "" if categories is None else f"{len(categories):,}",
        _rule(recipe["nulls"].get(name), is_category=categories is not None),
    )


def _number(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:,.6g}"


def _rule(rule: Mapping[str, Any] | None, *, is_category: bool) -> str:
    """Return the value by which ``training()`` replaces nulls, with its rule."""
    if rule is None:
        return "code 0" if is_category else ""
    value = rule.get("value")
    return rule["rule"] if value is None else f"{_number(value)} ({rule['rule']})"
