"""The recipe of prepared rows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from millrace.dataset import Recipe
from millrace.errors import UsageError
from millrace.training.prepare.entry import INDICATOR, MEAN, Preparation
from millrace.training.prepare.rows.features import VALUE, Feature
from millrace.training.prepare.rows.prepared import PreparedRows
from millrace.training.prepare.rows.splitting import TRAIN
from millrace.training.prepare.rows.targets import class_weights

Figures = Mapping[str, Mapping[str, Any]]


def make_recipe(
    preparation: Preparation,
    rows: PreparedRows,
    figures: Figures,
    *,
    inputs: Mapping[str, str],
    duckdb: str,
    algorithm: int,
) -> Recipe:
    """Return the recipe; ``figures`` are those of ``PreparedRows.statistics`` after all batches of train.

    ``inputs`` has the exact version of each input. Raises ``UsageError`` for the mean of values that are not finite.
    """
    class_rows = rows.counts.class_rows
    return Recipe(
        algorithm=algorithm,
        duckdb=duckdb,
        entry=preparation.row_fields(),
        inputs=dict(inputs),
        seed=preparation.seed,
        key=preparation.key,
        features=rows.features,
        shapes={feature.name: feature.shape for feature in rows.plan.features if feature.shape},
        categories=rows.categories,
        classes=rows.classes,
        class_weights=None if class_rows is None else class_weights(class_rows[TRAIN]),
        nulls=_rules(rows, figures),
        splits={
            name: {"rows": count, "classes": None if class_rows is None else class_rows[name]}
            for name, count in rows.split_rows.items()
        },
        statistics=figures,
        dropped=rows.dropped,
        rows_in=rows.rows_in,
        warnings=rows.warnings,
    )


def _rules(rows: PreparedRows, figures: Figures) -> dict[str, dict[str, Any]]:
    rules = {name: {"rule": "drop"} for name in rows.plan.drops}
    made = {feature.name: _rule(feature, figures) for feature in rows.plan.features if feature.rule}
    return {**rules, **made}


def _rule(feature: Feature, figures: Figures) -> dict[str, Any]:
    rule = feature.rule
    if rule is None:
        raise ValueError(f"the feature {feature.name!r} has no rule")
    if rule.rule == MEAN:
        return {"rule": MEAN, "value": _mean(feature.name, figures)}
    if rule.rule == VALUE:
        return {"rule": VALUE, "value": rule.constant}
    if rule.rule == INDICATOR and not feature.may_have_nulls:
        # The indicator has the fact; a type without NaN needs some value in the null's place.
        return {"rule": INDICATOR, "value": False if pa.types.is_boolean(feature.leaf) else 0}
    return {"rule": rule.rule}


def _mean(name: str, figures: Figures) -> float:
    mean = figures[name]["mean"]
    if mean is None or not math.isfinite(mean):
        raise UsageError(
            f"the mean of feature {name!r} in {TRAIN} is not finite, so nulls: {MEAN} has no value",
            hint="remove infinite values in the query, or give a constant",
            column=name,
        )
    return float(mean)
