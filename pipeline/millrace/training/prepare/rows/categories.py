"""The codes of categories: those of earlier versions stay, and new values of train follow in sorted order."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pyarrow as pa

from millrace.errors import UsageError
from millrace.training.prepare.engine import Engine, literal
from millrace.training.prepare.rows.canonical import is_text
from millrace.training.prepare.rows.features import VALUE, Feature
from millrace.training.prepare.rows.placing import PLACE, Placing
from millrace.training.prepare.rows.splitting import TRAIN

CATEGORIES_MAX: Final = 65_535
UNSEEN: Final = 0
"""The code of a value that is in no row of train."""


def find_categories(
    engine: Engine, placing: Placing, codes: Mapping[str, Sequence[Any]], *, limit: int = CATEGORIES_MAX
) -> dict[str, tuple[Any, ...]]:
    """Return the values of each category in the order of their codes, and make a table of codes for each.

    The values in ``codes`` keep theirs. Raises ``UsageError`` for a column of too many values, before they are fetched.
    """
    features = [feature for feature in placing.plan.features if feature.is_category]
    _check_numbers(engine, placing, features, limit)
    categories = {}
    for feature in features:
        old = codes.get(feature.name, ())
        values = (*old, *_new_values(engine, placing, feature, old))
        if len(values) > limit:
            raise _too_many(feature.name, len(values), limit)
        engine.create(codes_table(placing, feature), _codes_sql(feature, values))
        categories[feature.name] = values
    _check_constants(features, categories)
    return categories


def codes_table(placing: Placing, feature: Feature) -> str:
    """Return the name of the table with ``value`` and ``code`` of a category."""
    return f"codes_{placing.column(feature.name)}"


def code_of(value: Any, categories: Sequence[Any]) -> int:
    """Return the code of a value; 0 for a value that is not there."""
    return next((i + 1 for i, each in enumerate(categories) if type(each) is type(value) and each == value), UNSEEN)


def value_sql(feature: Feature, sql: str) -> str:
    """Return SQL for a value of a category as its table of codes has it."""
    return f"CAST({sql} AS {_value_type(feature)[0]})"


def _value_type(feature: Feature) -> tuple[str, type]:
    if is_text(feature.source):
        return "VARCHAR", str
    return ("BOOLEAN", bool) if pa.types.is_boolean(feature.source) else ("HUGEINT", int)


def _check_numbers(engine: Engine, placing: Placing, features: Sequence[Feature], limit: int) -> None:
    if not features:
        return
    counts = ", ".join(f"count(DISTINCT {placing.column(feature.name)})" for feature in features)
    ((numbers),) = engine.rows(f"SELECT {counts} FROM {placing.table} WHERE {PLACE} = {placing.place_of(TRAIN)}")
    for feature, number in zip(features, numbers, strict=True):
        if number > limit:
            raise _too_many(feature.name, number, limit)


def _too_many(name: str, number: int, limit: int) -> UsageError:
    return UsageError(
        f"the column {name!r} has {number:,} categories, and at most {limit:,} are possible",
        hint="leave it out of categories, or group its values in the query",
        column=name,
        expected=limit,
        actual=number,
    )


def _new_values(engine: Engine, placing: Placing, feature: Feature, old: Sequence[Any]) -> list[Any]:
    column = placing.column(feature.name)
    found = engine.rows(
        f"SELECT DISTINCT {value_sql(feature, column)} FROM {placing.table} "
        f"WHERE {PLACE} = {placing.place_of(TRAIN)} AND {column} IS NOT NULL"
    )
    # The type counts as well: in Python, true equals 1.
    known = {(type(value), value) for value in old}
    return sorted(value for (value,) in found if (type(value), value) not in known)


def _codes_sql(feature: Feature, values: Sequence[Any]) -> str:
    name, python_type = _value_type(feature)
    codes = [code for code, value in enumerate(values, 1) if type(value) is python_type]
    known = [values[code - 1] for code in codes]
    return f"SELECT {_unnested(known, name)} AS value, {_unnested(codes, 'USMALLINT')} AS code"


def _unnested(values: Sequence[Any], name: str) -> str:
    """Return SQL for a row for each value. DuckDB reads JSON a hundred times as fast as the rows of VALUES."""
    return f"unnest(from_json({literal(json.dumps(values))}, {literal(json.dumps([name]))}))"


def _check_constants(features: Sequence[Feature], categories: Mapping[str, Sequence[Any]]) -> None:
    for feature in features:
        rule = feature.rule
        if rule and rule.rule == VALUE and code_of(rule.constant, categories[feature.name]) == UNSEEN:
            raise UsageError(
                f"nulls of column {feature.name!r}: {rule.constant!r} is none of its categories in {TRAIN}",
                hint="give one of them, or coalesce the column in the query",
                column=feature.name,
            )
