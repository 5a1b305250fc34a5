"""Category codes: those of earlier versions are kept, and of concurrent versions with other codes one is refused."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
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
    versions = VersionGraph(catalogue.all_versions(plan.dataset)).versions
    for _, name, values in _codes(catalogue, plan, (each for each in versions if each.number < plan.number)):
        if _begins_with(values, codes.get(name, ())):
            codes[name] = values
    return codes


def check_codes(catalogue: Catalogue, plan: PreparePlan, recipe: Recipe, others: VersionGraph) -> None:
    """Raise ``StoreError`` if a version that was published since the plan gives a code of ``recipe`` to another value.

    ``others`` are the versions of the dataset without that of the plan.
    """
    since = (version for version in others.versions if version.number >= plan.number)
    for version, name, values in _codes(catalogue, plan, since):
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


def _codes(
    catalogue: Catalogue, plan: PreparePlan, versions: Iterable[Version]
) -> Iterator[tuple[Version, str, tuple[Any, ...]]]:
    """Yield the values of each category of the plan in each version that may be visible again, in order of their codes.

    Reads nothing for a plan without categories.
    """
    if not plan.preparation.categories:
        return
    for version in versions:
        if version.purged_at is not None or version.mark == WITHDRAWN or "prepared" not in version.settings:
            continue
        recipe = read_recipe(catalogue, version)
        for name in plan.preparation.categories:
            if recipe is not None and name in recipe.categories:
                yield version, name, recipe.categories[name]


def _begins_with(values: Sequence[Any], start: Sequence[Any]) -> bool:
    # The type counts as well: in Python, true equals 1.
    same = (type(one) is type(other) and one == other for one, other in zip(values, start, strict=False))
    return len(values) >= len(start) and all(same)
