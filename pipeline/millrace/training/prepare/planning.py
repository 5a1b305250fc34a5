"""Decide once from which versions a preparation is made, and whether it has anything to do."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from millrace.dataset import Recipe, recipe_of
from millrace.errors import ChunkError, DatasetNotFoundError, StoreError, UsageError
from millrace.names import check_dataset_name, check_run, nearest, parse_reference
from millrace.settings import missing_extra
from millrace.store import WITHDRAWN, Catalogue, Version, VersionGraph
from millrace.training.prepare.entry import Preparation
from millrace.training.prepare.plan import ALGORITHM, PreparePlan
from millrace.training.prepare.query import check_query

_SEED_MAX = 2**63 - 1


def make_prepare_plan(
    catalogue: Catalogue,
    preparation: Preparation,
    *,
    run: str,
    versions: Mapping[str, str] | None = None,
    force: bool = False,
) -> PreparePlan:
    """Make the plan of a preparation without writing anything.

    ``versions`` replaces the versions of inputs by alias, such as ``{"flights": "12"}``. With ``force`` a new version
    is made from unchanged inputs. Raises ``DatasetNotFoundError`` and ``VersionNotFoundError`` for an input that does
    not exist, by its alias, and ``UsageError`` for a name that a loaded dataset has and for a query that is refused.
    """
    check_dataset_name(preparation.name)
    check_run(run)
    _check_seed(preparation)
    _check_aliases(preparation, versions or {})
    exact = {alias: _exact(catalogue, preparation, alias, versions or {}) for alias in preparation.inputs}
    inputs = {alias: version.reference for alias, version in exact.items()}
    graph = VersionGraph(catalogue.all_versions(preparation.name))
    _check_not_loaded(preparation.name, graph.versions)
    fingerprint = _fingerprint(preparation, inputs)
    hexpart = hashlib.sha256(f"{run}\0{fingerprint}".encode()).hexdigest()[:6]
    published, holder = graph.published(hexpart, run) or (None, None)
    latest = graph.latest
    plan = PreparePlan(
        preparation=preparation,
        run=run,
        inputs=inputs,
        fingerprint=fingerprint,
        number=graph.next_number if published is None else published.number,
        hex=hexpart,
        parent=None if latest is None else latest.label,
        codes_of=codes_of(catalogue, graph.versions),
    )
    if published is not None and holder is not None:
        return replace(plan, published=True, parent=published.parent, holder=holder.label)
    if latest is not None and not force and latest.settings.get("prepared") == fingerprint:
        return replace(plan, unchanged=True, holder=latest.label)
    check_query(preparation, {alias: catalogue.pages.schema(version) for alias, version in exact.items()})
    return plan


def recipe_named(catalogue: Catalogue, dataset: str, label: str) -> Recipe | None:
    """Return the recipe of a version, which may be deleted; None for no label, and for a version without one."""
    if not label:
        return None
    version = next((version for version in catalogue.all_versions(dataset) if version.label == label), None)
    return None if version is None else _recipe(catalogue, version)


def recipe_of_codes(catalogue: Catalogue, plan: PreparePlan) -> Recipe | None:
    """Return the recipe whose category codes a plan keeps; None if there is none.

    Older versions have the codes of a column that was no category in the version before.
    """
    recipe = recipe_named(catalogue, plan.dataset, plan.codes_of)
    if recipe is None:
        return None
    categories = dict(recipe.categories)
    versions = iter(VersionGraph(catalogue.all_versions(plan.dataset)).versions)
    wanted = frozenset(plan.preparation.categories)
    while not wanted <= categories.keys() and (version := next(versions, None)) is not None:
        older = _recipe(catalogue, version) if _may_return(version) else None
        categories = {**({} if older is None else older.categories), **categories}
    return replace(recipe, categories=categories)


def check_published_since(catalogue: Catalogue, plan: PreparePlan, recipe: Recipe, others: VersionGraph) -> None:
    """Raise ``StoreError`` if a version was published since the plan, and gives other codes to the same categories.

    Raises ``UsageError`` if it was loaded. ``others`` are the versions of the dataset without that of the plan.
    """
    _check_not_loaded(plan.dataset, others.versions)
    newest = codes_of(catalogue, others.versions)
    other = None if newest == plan.codes_of else recipe_named(catalogue, plan.dataset, newest)
    their_categories = {} if other is None else other.categories
    for name, values in recipe.categories.items():
        if any(own != theirs for own, theirs in zip(values, their_categories.get(name, ()), strict=False)):
            raise StoreError(
                f"{plan.dataset}@{newest} was published meanwhile, and the same codes denote other values of {name!r}",
                hint="prepare it again: the codes of that version are kept then",
                dataset=plan.dataset,
                column=name,
            )


def _check_seed(preparation: Preparation) -> None:
    seed: Any = preparation.seed
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed <= _SEED_MAX:
        raise UsageError(
            f"the seed of {preparation.name} is {seed!r}", hint=f"give a whole number from 0 to {_SEED_MAX}"
        )


def _check_aliases(preparation: Preparation, versions: Mapping[str, str]) -> None:
    for alias in versions:
        if alias not in preparation.inputs:
            near = nearest(alias, list(preparation.inputs), at_most=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            names = ", ".join(preparation.inputs)
            raise UsageError(f"{preparation.name} has no input {alias!r}", hint=f"{hint}its inputs are {names}")


def _exact(catalogue: Catalogue, preparation: Preparation, alias: str, versions: Mapping[str, str]) -> Version:
    """Return the exact version of an input."""
    name, selector = parse_reference(preparation.inputs[alias])
    if given := str(versions.get(alias) or ""):
        given_name, selector = parse_reference(given if "@" in given else f"{name}@{given}")
        if given_name != name:
            raise UsageError(f"the input {alias!r} of {preparation.name} is {name}, not {given_name}")
    if name == preparation.name:
        raise UsageError(f"{name} cannot be made from itself", hint=f"change the input {alias!r}")
    try:
        return catalogue.resolve(name, selector)
    except StoreError as error:
        error.message = f"the input {alias!r} of {preparation.name}: {error.message}"
        error.context.setdefault("input", alias)
        raise


def _check_not_loaded(name: str, versions: Iterable[Version]) -> None:
    """Raise ``UsageError`` if the newest version of the name was loaded: its rows would be replaced."""
    newest = next((version for version in versions if version.deleted_at is None), None)
    if newest is not None and "prepared" not in newest.settings:
        raise UsageError(
            f"{newest.reference} was loaded, so {name} cannot be the name of prepared data",
            hint="choose another name, or delete the dataset",
            dataset=name,
        )


def _fingerprint(preparation: Preparation, inputs: Mapping[str, str]) -> str:
    facts: dict[str, Any] = {
        "inputs": list(inputs.items()),
        "entry": preparation.row_fields(),
        "duckdb": duckdb_version(),
        "algorithm": ALGORITHM,
    }
    # As lists of pairs, because the order of the splits counts, and sorted keys would lose it.
    facts["splits"] = preparation.to_json()["splits"]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def duckdb_version() -> str:
    """Return the version of DuckDB; raise ``UsageError`` if the extra ``prepare`` is not installed."""
    if reason := missing_extra("prepare"):
        raise UsageError(f"training data cannot be prepared: {reason}")
    import duckdb

    return str(duckdb.__version__)


def codes_of(catalogue: Catalogue, versions: Iterable[Version]) -> str:
    """Return the newest version whose recipe can be read, deleted ones included; empty if there is none.

    A deleted version may be restored. If its codes were not kept, one code could denote two values then. A withdrawn
    version cannot, and it may have been withdrawn because of its codes.
    """
    for version in versions:
        if _may_return(version) and "prepared" in version.settings and _recipe(catalogue, version) is not None:
            return version.label
    return ""


def _may_return(version: Version) -> bool:
    """Return whether a version is visible, or a user may restore it."""
    return version.purged_at is None and version.mark != WITHDRAWN


def _recipe(catalogue: Catalogue, version: Version) -> Recipe | None:
    try:
        return recipe_of(catalogue.pages.schema(catalogue.with_content(version)))
    except (DatasetNotFoundError, ChunkError):
        return None
