"""The features of a result: their kinds, their stored types, and the rules for their nulls."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from millrace.errors import UsageError
from millrace.training.prepare.entry import DROP, INDICATOR, MEAN
from millrace.training.prepare.rows.canonical import is_text

CODE: Final = pa.uint16()
"""The type of the codes of categories."""
VALUE: Final = "value"
"""The rule of a constant, as recipes name it."""
_INDICATOR_SUFFIX: Final = "_is_null"


@dataclass(frozen=True, slots=True)
class NullRule:
    """A rule of ``nulls``: ``mean``, ``drop``, ``indicator``, or ``value`` with the constant."""

    rule: str
    constant: Any = None


@dataclass(frozen=True, slots=True)
class Feature:
    """A feature of the result: ``source`` is its type there, ``stored`` the type in the dataset."""

    name: str
    source: pa.DataType
    stored: pa.DataType
    is_category: bool = False
    rule: NullRule | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of a row of a tensor; empty for one value."""
        sizes, kind = [], self.stored
        while pa.types.is_fixed_size_list(kind):
            sizes.append(kind.list_size)
            kind = kind.value_type
        return tuple(sizes)

    @property
    def leaf(self) -> pa.DataType:
        """Return the stored type of one value."""
        return _leaf(self.stored)

    @property
    def is_number(self) -> bool:
        """Return whether a row has one number, or a boolean."""
        return not self.is_category and not self.shape

    @property
    def may_have_nulls(self) -> bool:
        """Return whether ``training()`` can give nulls without a rule: as NaN, or as code 0."""
        return self.is_category or pa.types.is_floating(self.leaf)

    @property
    def is_replaced(self) -> bool:
        """Return whether ``training()`` replaces nulls by the value of a rule."""
        return self.rule is not None and self.rule.rule in (MEAN, VALUE)

    @property
    def indicator(self) -> str | None:
        """Return the name of the boolean column for the rule ``indicator``."""
        return self.name + _INDICATOR_SUFFIX if self.rule and self.rule.rule == INDICATOR else None

    def missing_sql(self, sql: str) -> str:
        """Return SQL for whether the value of an expression counts as null."""
        if self.shape:
            flat = f"CAST({sql} AS {_duckdb_leaf(self.source)}{'[]' * len(self.shape)})"
            for _ in self.shape[1:]:
                flat = f"flatten({flat})"
            return f"({sql} IS NULL OR list_count({flat}) < {math.prod(self.shape)})"
        is_float = pa.types.is_floating(self.source)
        return f"({sql} IS NULL OR isnan({sql}))" if is_float else f"({sql} IS NULL)"


def _leaf(kind: pa.DataType) -> pa.DataType:
    while pa.types.is_fixed_size_list(kind):
        kind = kind.value_type
    return kind


def _duckdb_leaf(kind: pa.DataType) -> str:
    leaf = _leaf(kind)
    return "DOUBLE" if pa.types.is_decimal(leaf) or leaf == pa.float64() else _DUCKDB_NAMES[str(leaf)]


_DUCKDB_NAMES: Final = {
    "bool": "BOOLEAN",
    "float": "FLOAT",
    **{f"int{bits}": name for bits, name in ((8, "TINYINT"), (16, "SMALLINT"), (32, "INTEGER"), (64, "BIGINT"))},
    **{f"uint{bits}": name for bits, name in ((8, "UTINYINT"), (16, "USMALLINT"), (32, "UINTEGER"), (64, "UBIGINT"))},
}


def number_type(kind: pa.DataType) -> pa.DataType | None:
    """Return the stored type of a feature that is a number, a boolean or a tensor of them; None for another type."""
    if pa.types.is_fixed_size_list(kind):
        inner = number_type(kind.value_type)
        return None if inner is None else pa.list_(inner, kind.list_size)
    if pa.types.is_decimal(kind):
        return pa.float64()
    is_number = pa.types.is_integer(kind) or pa.types.is_float32(kind) or pa.types.is_float64(kind)
    return kind if is_number or pa.types.is_boolean(kind) else None


def make_feature(name: str, source: pa.DataType, *, is_category: bool, null_value: Any) -> Feature:
    """Return the feature of a column; ``null_value`` is its entry in ``nulls``, or None.

    Raises ``UsageError`` for a type that is no feature, and for a rule that does not fit the type.
    """
    stored = _category_type(name, source) if is_category else number_type(source)
    if stored is None:
        raise UsageError(
            f"the column {name!r} of the query's result is of type {source}, which is neither a number nor a category",
            hint=_type_hint(source),
            column=name,
        )
    feature = Feature(name, source, stored, is_category)
    return Feature(name, source, stored, is_category, None if null_value is None else _rule(feature, null_value))


def _type_hint(source: pa.DataType) -> str:
    if pa.types.is_list(source) or pa.types.is_large_list(source):
        return "cast it to a list of a fixed size, such as FLOAT[3], or leave it out of the query"
    return "cast it, name it in categories, or leave it out of the query"


def _category_type(name: str, source: pa.DataType) -> pa.DataType:
    if not (is_text(source) or pa.types.is_integer(source) or pa.types.is_boolean(source)):
        raise UsageError(
            f"the category {name!r} is of type {source}; categories are texts, whole numbers or booleans",
            hint="cast it to VARCHAR in the query",
            column=name,
        )
    return CODE


def _rule(feature: Feature, value: Any) -> NullRule:
    if value in (DROP, INDICATOR):
        return NullRule(value)
    if value == MEAN:
        if feature.is_category or feature.shape or not pa.types.is_floating(feature.leaf):
            raise _wrong_rule(feature, value, "only features of floats have one")
        return NullRule(MEAN)
    if not feature.is_category and not _fits(value, feature.leaf):
        raise _wrong_rule(feature, value, f"it is no value of type {feature.leaf}")
    return NullRule(VALUE, value)


def _fits(value: Any, leaf: pa.DataType) -> bool:
    if pa.types.is_boolean(leaf) or isinstance(value, bool):
        return pa.types.is_boolean(leaf) and isinstance(value, bool)
    if pa.types.is_floating(leaf):
        return isinstance(value, int | float) and math.isfinite(value)
    low, high = (-(2 ** (leaf.bit_width - 1)), 2 ** (leaf.bit_width - 1) - 1)
    if pa.types.is_unsigned_integer(leaf):
        low, high = 0, 2**leaf.bit_width - 1
    return isinstance(value, int) and low <= value <= high


def _wrong_rule(feature: Feature, value: Any, reason: str) -> UsageError:
    rules = f"{DROP}, {INDICATOR} or a constant of the column's type"
    return UsageError(
        f"nulls of column {feature.name!r}: {value!r} is not possible, because {reason}",
        hint=f"give {rules}" if value == MEAN else f"give {MEAN}, {rules}",
        column=feature.name,
    )
