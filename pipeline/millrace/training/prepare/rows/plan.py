"""The plan of prepared rows: the stored columns of a query's result, decided from its types before it runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pyarrow as pa

from millrace.errors import UsageError
from millrace.names import first_duplicate, nearest
from millrace.training.prepare.entry import ALWAYS, DROP, TARGET, CutSplits, HashSplits, Preparation
from millrace.training.prepare.rows.canonical import has_canonical_text, is_text
from millrace.training.prepare.rows.features import Feature, make_feature
from millrace.training.prepare.rows.splitting import cut_condition, split_names, weight_limits


@dataclass(frozen=True, slots=True)
class RowsPlan:
    """The columns of a result by their use; ``result`` has all of them with their types."""

    result: pa.Schema
    carried: tuple[str, ...]
    """Columns of ``key`` and ``by`` that are stored and are no features."""
    by: tuple[str, ...]
    """The columns whose hash decides the split: ``by``, or the key; none for cut-off times."""
    known: Mapping[str, str]
    """For each joined input whose rows change with time: the column that has the time at which a row was known."""
    features: tuple[Feature, ...]
    """In stored order: those of one type are neighbours."""
    drops: tuple[str, ...]
    """Columns whose nulls drop the row, in the order of ``nulls``."""

    @property
    def indicators(self) -> tuple[str, ...]:
        """Return the names of the boolean columns that the rule ``indicator`` adds."""
        return tuple(feature.indicator for feature in self.features if feature.indicator)

    def stored_schema(self, target: pa.DataType) -> pa.Schema:
        """Return the stored columns for a target of this type."""
        carried = [(name, carried_type(self.result.field(name).type)) for name in self.carried]
        features = [(feature.name, feature.stored) for feature in self.features]
        indicators = [(name, pa.bool_()) for name in self.indicators]
        return pa.schema([*carried, (TARGET, target), *features, *indicators])

    def feature(self, name: str) -> Feature | None:
        """Return the feature of a column, or None."""
        return next((feature for feature in self.features if feature.name == name), None)


def plan_rows(preparation: Preparation, result: pa.Schema) -> RowsPlan:
    """Return the plan for a query whose result has these columns (``Engine.result_schema``).

    Raises ``UsageError`` for a name that the result lacks, and for a column whose type does not fit its use.
    """
    _check_names(preparation, result)
    splits = preparation.splits
    by = (splits.by or preparation.key) if isinstance(splits, HashSplits) else ()
    known = {alias: column for alias, column in preparation.known.items() if column != ALWAYS}
    _check_hashed(result, {"key": preparation.key, "by": by})
    _check_times(preparation, result, known)
    keys = tuple(dict.fromkeys((*preparation.key, *by)))
    features = _features(preparation, result, frozenset(keys) | frozenset(known.values()))
    named = {feature.name for feature in features}
    carried = tuple(name for name in keys if name not in named)
    drops = tuple(name for name, value in preparation.nulls.items() if value == DROP)
    plan = RowsPlan(result, carried, by, known, features, drops)
    _check_rules(preparation, plan)
    _check_stored_names(plan)
    _check_splits(preparation)
    return plan


def _check_names(preparation: Preparation, result: pa.Schema) -> None:
    if twice := first_duplicate(name.lower() for name in result.names):
        raise UsageError(f"the query's result has two columns {twice!r}", hint="rename one of them with AS")
    if taken := next((name for name in result.names if name.lower() == TARGET), None):
        raise UsageError(
            f"the query's result has a column {taken!r}, the name of the stored target", hint="rename it with AS"
        )
    splits = preparation.splits
    uses: dict[str, Iterable[str]] = {
        "key": preparation.key,
        "splits.by": splits.by if isinstance(splits, HashSplits) else (),
        "known": [column for column in preparation.known.values() if column != ALWAYS],
        "features": preparation.features or (),
        "categories": preparation.categories,
        "nulls": preparation.nulls,
    }
    for use, names in uses.items():
        if unknown := next((name for name in names if name not in result.names), None):
            close = nearest(unknown, result.names)
            raise UsageError(
                f"{use} names the column {unknown!r}, which the query's result does not have",
                hint=f"did you mean {close[0]!r}?" if close else f"its columns are {', '.join(result.names)}",
                column=unknown,
            )


def _check_hashed(result: pa.Schema, uses: Mapping[str, tuple[str, ...]]) -> None:
    for use, names in uses.items():
        for name in names:
            if not has_canonical_text(result.field(name).type):
                raise UsageError(
                    f"the column {name!r} of {use} is of type {result.field(name).type}, which has no exact text",
                    hint="cast it to a whole number, a decimal, a date, a time stamp or VARCHAR in the query",
                    column=name,
                )


def _check_times(preparation: Preparation, result: pa.Schema, known: Mapping[str, str]) -> None:
    for alias, name in known.items():
        kind = result.field(name).type
        if not (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
            raise UsageError(
                f"known: the column {name!r} of input {alias!r} is of type {kind}, which is no date or time",
                hint="select the time at which the joined row was known",
                column=name,
            )
    if preparation.at is None and (known or isinstance(preparation.splits, CutSplits)):
        use = "known" if known else "the splits by cut-off times"
        raise UsageError(f"{use} need the moment of prediction", hint="give at, such as at: time_hour")


def _features(preparation: Preparation, result: pa.Schema, others: frozenset[str]) -> tuple[Feature, ...]:
    """Return the features, grouped by type in the order in which the types occur."""
    asked, categories = preparation.features, frozenset(preparation.categories)
    named = categories if asked is None else categories | frozenset(asked)
    features = []
    for field in result:
        if field.name in others and field.name not in named:
            continue
        # Also a column that is not stored is refused for its type: most likely it was forgotten in categories.
        feature = make_feature(
            field.name,
            field.type,
            is_category=field.name in categories,
            null_value=preparation.nulls.get(field.name),
        )
        if asked is None or field.name in named:
            features.append(feature)
    if not features:
        raise UsageError("the query's result has no column that is a feature", hint="select a number or a category")
    groups: dict[pa.DataType, list[Feature]] = {}
    for feature in features:
        groups.setdefault(feature.stored, []).append(feature)
    return tuple(feature for group in groups.values() for feature in group)


def _check_rules(preparation: Preparation, plan: RowsPlan) -> None:
    for name, value in preparation.nulls.items():
        if plan.feature(name) is None and not (value == DROP and name in plan.carried):
            raise UsageError(
                f"nulls names the column {name!r}, which is no feature",
                hint=f"name a feature, or give {DROP}",
                column=name,
            )


def _check_stored_names(plan: RowsPlan) -> None:
    names = [name.lower() for name in plan.stored_schema(pa.bool_()).names]
    if twice := first_duplicate(names):
        raise UsageError(
            f"the column {twice!r} has the name of an indicator column", hint="rename it with AS", column=twice
        )


def _check_splits(preparation: Preparation) -> None:
    splits = preparation.splits
    split_names(splits)
    if isinstance(splits, HashSplits):
        weight_limits(splits)
    else:
        for name, text in splits.conditions.items():
            cut_condition(name, text)


def carried_type(source: pa.DataType) -> pa.DataType:
    """Return the stored type of a column of ``key`` or ``by``."""
    return pa.string() if is_text(source) else source
