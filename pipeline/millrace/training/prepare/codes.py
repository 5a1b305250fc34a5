"""Category codes: those of earlier versions are kept, and of concurrent versions with other codes one is refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from millrace.dataset import Recipe, recipe_of
from millrace.errors import ChunkError, DatasetNotFoundError, StoreError
from millrace.store import WITHDRAWN, Catalogue, Version, VersionGraph
from millrace.training.prepare.plan import PreparePlan


def kept_codes(catalogue: Catalogue, plan: PreparePlan) -> dict[str, tuple[Any, ...]]:
    """Return the values of each category in the order of the codes that the versions before the plan give them.

    Of two concurrent versions the newer one may lack codes of the other one, and a column may have been no category in
    between. So all versions are read that are visible, or that a user may restore. A withdrawn version cannot be
    restored, and it may have been withdrawn because of its codes.
    """
    codes: dict[str, tuple[Any, ...]] = {}
    for version in VersionGraph(catalogue.all_versions(plan.dataset)).versions:
        recipe = _recipe_with_codes(catalogue, version) if version.number < plan.number else None
        for name, values in {} if recipe is None else recipe.categories.items():
            if _begins_with(values, codes.get(name, ())):
                codes[name] = tuple(values)
    return codes


def check_codes(catalogue: Catalogue, plan: PreparePlan, recipe: Recipe, others: VersionGraph) -> None:
    """Raise ``StoreError`` if a version that was published since the plan gives a code of ``recipe`` to another value.

    ``others`` are the versions of the dataset without that of the plan.
    """
    for version in others.versions:
        other = _recipe_with_codes(catalogue, version) if version.number >= plan.number else None
        for name, values in {} if other is None else other.categories.items():
            own = recipe.categories.get(name, ())
            if not (_begins_with(own, values) or _begins_with(values, own)):
                raise StoreError(
                    f"{version.reference} was published meanwhile, and the same codes denote other values of {name!r}",
                    hint="prepare it again: the codes of that version are kept then",
                    dataset=plan.dataset,
                    column=name,
                )


def read_recipe(catalogue: Catalogue, version: Version) -> Recipe | None:
    """Return the recipe of a version, which may be deleted; None where there is none, or no longer."""
    try:
        return recipe_of(catalogue.pages.schema(catalogue.with_content(version)))
    except (DatasetNotFoundError, ChunkError):
        return None


def _recipe_with_codes(catalogue: Catalogue, version: Version) -> Recipe | None:
    if version.purged_at is not None or version.mark == WITHDRAWN or "prepared" not in version.settings:
        return None
    return read_recipe(catalogue, version)


def _begins_with(values: Sequence[Any], start: Sequence[Any]) -> bool:
    # The type counts as well: in Python, true equals 1.
    same = (type(one) is type(other) and one == other for one, other in zip(values, start, strict=False))
    return len(values) >= len(start) and all(same)
