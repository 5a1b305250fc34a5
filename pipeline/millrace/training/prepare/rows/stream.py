"""The sorted stream of prepared rows: split by split, in the order of the hash, in batches of equal length."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import pyarrow as pa

from millrace.training.prepare.engine import WORK, Engine
from millrace.training.prepare.rows.canonical import is_text
from millrace.training.prepare.rows.categories import UNSEEN, codes_table, value_sql
from millrace.training.prepare.rows.features import Feature
from millrace.training.prepare.rows.placing import GOAL, ORDER, PLACE, Placing


def sorted_batches(
    engine: Engine, placing: Placing, schema: pa.Schema, split_rows: Mapping[str, int], *, batch_rows: int
) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Yield each split and its rows in stored order, ``batch_rows`` at a time; the last batch of a split has the rest.

    DuckDB sorts out of core. The keys are unique, so the order is the same for any number of threads.
    """
    stream = engine.batches(_sorted_sql(placing, schema), batch_rows=batch_rows)
    rows = (_with_schema(batch, schema) for batch in stream)
    yield from cut_by_split(rows, split_rows, batch_rows=batch_rows)


def cut_by_split(
    batches: Iterable[pa.RecordBatch], split_rows: Mapping[str, int], *, batch_rows: int
) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Yield the same rows in batches that belong to one split and have ``batch_rows`` rows, except its last one."""
    lengths = _lengths(split_rows, batch_rows)
    split, wanted = next(lengths, ("", 0))
    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        start = 0
        while start < batch.num_rows:
            part = batch.slice(start, wanted - sum(each.num_rows for each in waiting))
            start += part.num_rows
            waiting.append(part)
            if sum(each.num_rows for each in waiting) == wanted:
                yield split, waiting[0] if len(waiting) == 1 else pa.concat_batches(waiting)
                waiting = []
                split, wanted = next(lengths, ("", 0))


def _lengths(split_rows: Mapping[str, int], batch_rows: int) -> Iterator[tuple[str, int]]:
    for split, rows in split_rows.items():
        for start in range(0, rows, batch_rows):
            yield split, min(batch_rows, rows - start)


def _sorted_sql(placing: Placing, schema: pa.Schema) -> str:
    plan = placing.plan
    categories = [feature for feature in plan.features if feature.is_category]
    indicated = [feature for feature in plan.features if feature.indicator]
    columns = [
        *(_carried_sql(placing, name) for name in plan.carried),
        GOAL,
        *(_feature_sql(placing, feature) for feature in plan.features),
        *(feature.missing_sql(placing.column(feature.name)) for feature in indicated),
    ]
    selected = ", ".join(f"{sql} AS s{i}" for i, sql in enumerate(columns))
    joins = " ".join(_join_sql(placing, feature) for feature in categories)
    return f"SELECT {selected} FROM {placing.table} {joins} WHERE {placing.kept_sql} ORDER BY {PLACE}, {ORDER}"


def _carried_sql(placing: Placing, name: str) -> str:
    column = placing.column(name)
    return f"CAST({column} AS VARCHAR)" if is_text(placing.plan.result.field(name).type) else column


def _feature_sql(placing: Placing, feature: Feature) -> str:
    column = placing.column(feature.name)
    if feature.is_category:
        code = f"coalesce({codes_table(placing, feature)}.code, {UNSEEN})"
        return f"CASE WHEN {column} IS NULL THEN NULL ELSE CAST({code} AS USMALLINT) END"
    if pa.types.is_decimal(feature.source):
        return f"CAST({column} AS DOUBLE)"
    if feature.is_replaced and not feature.shape and pa.types.is_floating(feature.source):
        return f"CASE WHEN isnan({column}) THEN NULL ELSE {column} END"  # readers replace nulls, and not NaN
    return column


def _join_sql(placing: Placing, feature: Feature) -> str:
    table = codes_table(placing, feature)
    return f"LEFT JOIN {WORK}.{table} AS {table} ON {value_sql(feature, placing.column(feature.name))} = {table}.value"


def _with_schema(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Return the columns under their stored names and types; DuckDB may give another form of the same type."""
    pairs = zip(batch.columns, schema, strict=True)
    columns = [column if column.type == field.type else column.cast(field.type) for column, field in pairs]
    return pa.RecordBatch.from_arrays(columns, schema=schema)
