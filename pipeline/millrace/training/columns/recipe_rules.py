"""The batches of a version with a recipe: its features as matrices, and the rules of the recipe for nulls and scale."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

import numpy as np
import pyarrow as pa

from millrace.arrow import is_text, stored_dtype
from millrace.chunks import is_matrix_type
from millrace.dataset import TARGET, Recipe
from millrace.errors import UsageError
from millrace.training.columns.batch_format import BatchFormat
from millrace.training.columns.feature_block import FeatureBlock
from millrace.training.columns.plan import ColumnPlan
from millrace.training.columns.planning import Plan, check_names, plan_columns

RECIPE: Final = "recipe"
"""The value of ``normalize=`` that takes means and deviations from the recipe."""
FEATURES: Final = "features"
"""The name of the matrix of float32; that of another type has the name of its dtype behind it."""


@dataclass(frozen=True, slots=True)
class RecipeRules:
    """The rules of a version's recipe for its batches."""

    recipe: Recipe
    schema: pa.Schema

    def columns(self) -> list[str]:
        """Return the columns of batches without ``columns=``: features, tensors and the target, in stored order."""
        wanted = {*self.recipe.features, *self.recipe.shapes, TARGET}
        return [name for name in self.schema.names if name in wanted]

    def blocks(self) -> list[FeatureBlock]:
        """Return the matrices of batches, in the order of the first feature of each."""
        fields: dict[pa.DataType, list[pa.Field]] = {}
        for name in self.columns():
            field = self.schema.field(name)
            if name in self.recipe.features and (is_matrix_type(field.type) or pa.types.is_boolean(field.type)):
                fields.setdefault(field.type, []).append(field)
        return [FeatureBlock(_block_name(type_), own) for type_, own in fields.items()]

    def plan(
        self,
        null_counts: Mapping[str, int | None],
        *,
        columns: Sequence[str] | None = None,
        nulls: Mapping[str, Any] | None = None,
        normalize: Mapping[str, Any] | str | None = None,
        format: str = BatchFormat.NUMPY,
    ) -> list[Plan]:
        """Return the plan of each array of the batches, as ``plan_columns`` does.

        Without ``columns`` the features are in matrices. Nulls become the values of the recipe, unless ``nulls`` has
        another one for the column. ``normalize`` may be "recipe".
        """
        names = self.columns() if columns is None else list(columns)
        fills = {**self._fills(names), **(nulls or {})}
        scales = self._scales(names) if normalize == RECIPE else checked_normalize(normalize)
        if columns is not None:
            return plan_columns(self.schema, null_counts, columns=columns, nulls=fills, normalize=scales, format=format)
        check_names(fills, names, "nulls= names a column that is not read")
        check_names(scales, names, "normalize= names a column that is not read")
        blocks = self.blocks()
        in_blocks = set(chain.from_iterable(block.columns for block in blocks))
        others = [name for name in names if name not in in_blocks]
        _check_different([*(block.name for block in blocks), *others])
        plans: list[Plan] = [block.plan(null_counts, fills, scales) for block in blocks]
        if TARGET in others and self._has_text_classes() and format != BatchFormat.ARROW:
            others.remove(TARGET)
            return [*plans, *self._others(null_counts, others, fills, scales, format), self._target()]
        return plans + self._others(null_counts, others, fills, scales, format)

    def _others(
        self,
        null_counts: Mapping[str, int | None],
        names: Sequence[str],
        fills: Mapping[str, Any],
        scales: Mapping[str, Any],
        format: str,
    ) -> list[Plan]:
        """Return the plans of the columns that are in no matrix."""
        if not names:
            return []
        return plan_columns(
            self.schema,
            null_counts,
            columns=names,
            nulls={name: value for name, value in fills.items() if name in names},
            normalize={name: pair for name, pair in scales.items() if name in names},
            format=format,
        )

    def _has_text_classes(self) -> bool:
        return self.recipe.classes is not None and is_text(self.schema.field(TARGET).type)

    def _target(self) -> ColumnPlan:
        """Return the plan of a target of text: the position of its class, or -1 for text that is no class."""
        classes = pa.array(self.recipe.classes, self.schema.field(TARGET).type)
        integer = np.dtype(np.int64)
        return ColumnPlan(TARGET, pa.int64(), integer, is_copy=True, fill=integer.type(-1), classes=classes)

    def _fills(self, names: Sequence[str]) -> dict[str, Any]:
        """Return the value that replaces nulls of each column with a rule; nulls of categories have the code 0."""
        rules = self.recipe.nulls
        values = {name: rules[name]["value"] for name in names if "value" in rules.get(name, {})}
        codes = {name: self._code(name, values.get(name)) for name in names if name in self.recipe.categories}
        return {**values, **codes}

    def _code(self, name: str, value: Any) -> int:
        """Return the code of a value of a category; 0 for None and for a value that the category does not have."""
        known = self.recipe.categories[name]
        return known.index(value) + 1 if value is not None and value in known else 0

    def _scales(self, names: Sequence[str]) -> dict[str, tuple[float, float]]:
        """Return mean and deviation of each feature of one number; a deviation of 0 counts as 1."""
        statistics = self.recipe.statistics
        others = {*self.recipe.categories, *self.recipe.shapes}
        numeric = [name for name in names if name in self.recipe.features and name not in others]
        return {name: _mean_and_std(statistics[name]) for name in numeric if name in statistics}


def checked_normalize(normalize: Mapping[str, Any] | str | None) -> Mapping[str, Any]:
    """Return the means and deviations of ``normalize=`` by column; raise ``UsageError`` for another text."""
    if isinstance(normalize, str):
        raise UsageError(
            f"normalize={normalize!r} is not possible",
            hint=f"give {{column: (mean, std)}}, or {RECIPE!r} for a version of training data, which has a recipe",
        )
    return normalize or {}


def _mean_and_std(figures: Mapping[str, Any]) -> tuple[float, float]:
    """Return both figures of a feature; a feature without any value has none."""
    return float(figures.get("mean") or 0), float(figures.get("std") or 1)


def _block_name(type_: pa.DataType) -> str:
    return FEATURES if type_ == pa.float32() else f"{FEATURES}_{stored_dtype(type_).name}"


def _check_different(names: Sequence[str]) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            raise UsageError(
                f"a column has the name {name!r}, which the matrix of the features has in batches",
                hint="name the columns in columns=, which gives each as an array of its own",
            )
