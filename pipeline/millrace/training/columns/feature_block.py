"""Several columns of one type that a batch holds as one array of rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from millrace.arrow import stored_dtype
from millrace.training.columns.fill import fill_number
from millrace.training.columns.layout import Layout
from millrace.training.columns.plan import ColumnPlan, nulls_refused
from millrace.training.columns.scale import Scale, scale_of


class FeatureBlock(NamedTuple):
    """The columns of one type of numbers that a batch holds as the array ``name``, of shape (rows, columns)."""

    name: str
    fields: Sequence[pa.Field]

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the names of the columns."""
        return tuple(field.name for field in self.fields)

    @property
    def leaf(self) -> pa.DataType:
        """Return the stored type of the columns."""
        return self.fields[0].type

    def plan(
        self, null_counts: Mapping[str, int | None], nulls: Mapping[str, Any], normalize: Mapping[str, Any]
    ) -> ColumnPlan:
        """Return the plan of the array; options are those of ``plan_columns``, by the names of the columns.

        If one column is normalized, all become floats: the others keep their values. Raises ``UsageError`` for a column
        that may have nulls without a value for them.
        """
        is_scaled = any(name in normalize for name in self.columns)
        dtype = _float_dtype(self.leaf) if is_scaled else stored_dtype(self.leaf)
        type_ = pa.from_numpy_dtype(dtype) if is_scaled else self.leaf
        fills = [self._fill(field, null_counts.get(field.name), nulls, dtype) for field in self.fields]
        return ColumnPlan(
            name=self.name,
            type=pa.list_(type_, len(self.fields)),
            dtype=dtype,
            is_copy=not is_scaled and dtype.kind != "b",
            shape=(len(self.fields),),
            fill=np.array(fills, np.float64 if is_scaled else dtype),
            scale=self._scale(normalize) if is_scaled else None,
            columns=self.columns,
        )

    def _fill(self, field: pa.Field, null_count: int | None, nulls: Mapping[str, Any], dtype: np.dtype[Any]) -> Any:
        if field.name in nulls:
            return fill_number(field.name, nulls[field.name], field.type)
        if dtype.kind == "f":
            return np.nan
        if field.nullable and null_count != 0:
            count = "an unknown number of" if null_count is None else f"{null_count:,}"
            raise nulls_refused(field.name, field.type, f"{count} nulls")
        return 0

    def _scale(self, normalize: Mapping[str, Any]) -> Scale:
        pairs = [scale_of(name, normalize.get(name, (0, 1)), Layout(self.leaf)) for name in self.columns]
        return Scale(np.array([pair.mean for pair in pairs]), np.array([pair.std for pair in pairs]))


def _float_dtype(leaf: pa.DataType) -> np.dtype[Any]:
    return np.dtype(np.float64 if leaf == pa.float64() else np.float32)
