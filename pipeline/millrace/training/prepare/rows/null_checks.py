"""The checks of nulls in features: whether each has a rule where it needs one, and a mean to replace them by."""

from __future__ import annotations

from millrace.errors import UsageError
from millrace.training.prepare.engine import Engine
from millrace.training.prepare.entry import DROP, INDICATOR, MEAN
from millrace.training.prepare.rows.features import Feature
from millrace.training.prepare.rows.placing import PLACE, Placing
from millrace.training.prepare.rows.splitting import TRAIN


def check_nulls(engine: Engine, placing: Placing) -> None:
    """Raise ``UsageError`` for nulls without a rule in a feature that needs one, and for the mean of no values."""
    features = placing.plan.features
    without = [feature for feature in features if feature.rule is None and not feature.may_have_nulls]
    means = [feature for feature in features if feature.rule is not None and feature.rule.rule == MEAN]
    if not without and not means:
        return
    missing = [f"count(*) FILTER ({_missing(placing, feature)})" for feature in without]
    in_train = f"{PLACE} = {placing.place_of(TRAIN)}"
    present = [f"count(*) FILTER ({in_train} AND NOT {_missing(placing, feature)})" for feature in means]
    counts = ", ".join(["count(*)", *missing, *present])
    ((rows, *found),) = engine.rows(f"SELECT {counts} FROM {placing.table} WHERE {placing.kept_sql}")
    for feature, nulls in zip(without, found[: len(without)], strict=True):
        if nulls:
            raise UsageError(
                f"the feature {feature.name!r} of type {feature.stored} is null in {nulls:,} of {rows:,} rows, and "
                "nulls has no rule for it",
                hint=f"give a constant, {DROP} or {INDICATOR}, or cast it to DOUBLE in the query",
                column=feature.name,
            )
    for feature, values in zip(means, found[len(without) :], strict=True):
        if not values:
            raise UsageError(
                f"the feature {feature.name!r} is null in all rows of {TRAIN}, so nulls: {MEAN} has no value",
                hint="give a constant, or leave the feature out",
                column=feature.name,
            )


def _missing(placing: Placing, feature: Feature) -> str:
    return feature.missing_sql(placing.column(feature.name))
