"""Make prepared rows visible as a version, and report on the preparation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from millrace.dataset import Recipe, recipe_of
from millrace.errors import ChunkFormatError, ExpectationError
from millrace.load import LoadReport, publish, version_report
from millrace.sources import SourceWarning
from millrace.store import Catalogue, CatalogueWriter, ReplicatedWriter, Version, VersionGraph
from millrace.training.prepare.changes import CLASSES_MAX, changes_between
from millrace.training.prepare.codes import check_codes
from millrace.training.prepare.plan import PreparePlan
from millrace.training.prepare.planning import check_not_loaded, recipe_named
from millrace.training.prepare.rows import check_expectations
from millrace.training.prepare.writing import PreparedData


def publish_prepared(
    catalogue: Catalogue,
    catalogue_writer: CatalogueWriter,
    writes: ReplicatedWriter,
    plan: PreparePlan,
    data: PreparedData,
) -> LoadReport:
    """Publish the version of a plan and return the report of the preparation.

    Publishing the same plan again returns the same version. Raises ``ExpectationError`` with every limit of ``expect``
    that the rows exceed, before anything is visible. Raises also as ``check_not_loaded``, ``check_codes`` and
    ``load.publish`` do.
    """
    recipe = _recipe(plan, recipe_of(data.schema))
    require_expected(plan, recipe)

    def check_others(others: VersionGraph) -> None:
        check_not_loaded(plan.dataset, others.versions)
        check_codes(catalogue, plan, recipe, others)

    load_plan = replace(data.load_plan, source=replace(data.load_plan.source, schema=data.schema))
    report = publish(
        catalogue,
        catalogue_writer,
        writes,
        load_plan,
        [data.result],
        settings=plan.settings,
        check_others=check_others,
    )
    stages = {**data.stages, "publish": report.stages["publish"]}
    return replace(
        report,
        stages=stages,
        warnings=(*report.warnings, *_warnings(recipe)),
        training=_facts(catalogue, plan, recipe, data.spilled_bytes),
    )


def unchanged_report(catalogue: Catalogue, plan: PreparePlan, version: Version) -> LoadReport:
    """Return the report of a plan without anything to do: of the version that it would make again.

    ``expect`` may have changed since; it is checked against that version's recipe. Raises ``ExpectationError``.
    """
    recipe = _recipe(plan, recipe_named(catalogue, plan.dataset, version.label))
    require_expected(plan, recipe)
    skipped = "unchanged" if plan.unchanged else ""
    report = version_report(catalogue, version, [], [], run=plan.run, mode="replace", skipped=skipped)
    return replace(report, training=_facts(catalogue, plan, recipe, 0))


def require_expected(plan: PreparePlan, recipe: Recipe) -> None:
    """Raise ``ExpectationError`` with every limit of the declaration that the rows exceed."""
    if problems := check_expectations(plan.preparation.expect, recipe):
        raise ExpectationError(
            f"{plan.dataset} is not as expected: {'; '.join(problems)}",
            hint="correct the inputs, or the limits under expect; nothing was published",
            dataset=plan.dataset,
        )


def _recipe(plan: PreparePlan, recipe: Recipe | None) -> Recipe:
    if recipe is None:
        raise ChunkFormatError(f"the prepared rows of {plan.dataset}@{plan.label} have no recipe", dataset=plan.dataset)
    return recipe


def _warnings(recipe: Recipe) -> tuple[SourceWarning, ...]:
    return tuple(SourceWarning("training_data", text) for text in recipe.warnings)


def _facts(catalogue: Catalogue, plan: PreparePlan, recipe: Recipe, spilled_bytes: int) -> Mapping[str, Any]:
    """Return the part of the report that only preparations have."""
    before = recipe_named(catalogue, plan.dataset, plan.parent or "")
    classes = recipe.classes if recipe.classes is not None and len(recipe.classes) <= CLASSES_MAX else None
    return {
        "inputs": dict(recipe.inputs),
        "rows_in": recipe.rows_in,
        "dropped": dict(recipe.dropped),
        "classes": None if classes is None else list(classes),
        "splits": {
            name: {"rows": figures["rows"], "classes": None if classes is None else list(figures["classes"])}
            for name, figures in recipe.splits.items()
        },
        "spilled_bytes": spilled_bytes,
        "changes": None if before is None else changes_between(before, recipe),
    }
