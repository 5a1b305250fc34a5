"""Decide once from which versions a preparation is made, and whether it has anything to do."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from millrace.dataset import Recipe
from millrace.errors import StoreError, UsageError
from millrace.names import check_dataset_name, check_run, nearest, parse_reference
from millrace.settings import missing_extra
from millrace.store import Catalogue, Version, VersionGraph
from millrace.training.prepare.codes import read_recipe
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
    check_not_loaded(preparation.name, graph.versions)
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
    return None if version is None else read_recipe(catalogue, version)


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


def check_not_loaded(name: str, versions: Iterable[Version]) -> None:
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
