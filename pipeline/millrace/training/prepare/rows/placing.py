"""The table of placed rows: result and labels joined by key, each row with its split or the reason to drop it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import pyarrow as pa

from millrace.training.prepare.engine import WORK, Engine, quoted
from millrace.training.prepare.entry import CutSplits, HashSplits, Preparation
from millrace.training.prepare.rows.canonical import order_number_sql, split_digits_sql, text_sql
from millrace.training.prepare.rows.labels import Labels
from millrace.training.prepare.rows.plan import RowsPlan
from millrace.training.prepare.rows.splitting import cut_sql, split_names, weight_limits, weight_sql

RESULT: Final = f"{WORK}.result"
PLACED: Final = "placed"
AT, GOAL, PLACE, ORDER = "at_time", "goal", "place", "order_number"
"""Columns of the placed rows besides those of the result, which are c0, c1, ... there."""
NO_TARGET: Final = "no target"
NO_AT: Final = "no moment of prediction"
IN_NO_SPLIT: Final = "in no split"
NOT_IN_RESULT: Final = "not in the query's result"


@dataclass(frozen=True, slots=True)
class Placing:
    """How rows are placed: a place is the position of a split, or behind them that of a reason to drop the row."""

    plan: RowsPlan
    labels: Labels
    splits: tuple[str, ...]
    reasons: tuple[str, ...]
    rows: int = 0

    @property
    def table(self) -> str:
        """Return the name of the table of placed rows in SQL."""
        return f"{WORK}.{PLACED}"

    @property
    def kept_sql(self) -> str:
        """Return SQL for whether a placed row is stored."""
        return f"{PLACE} < {len(self.splits)}"

    def place_of(self, split: str) -> int:
        """Return the place of the rows of a split."""
        return self.splits.index(split)

    def column(self, name: str) -> str:
        """Return the column of the placed rows that has a column of the result."""
        return f"c{self.plan.result.names.index(name)}"


def place_rows(engine: Engine, preparation: Preparation, plan: RowsPlan, labels: Labels) -> Placing:
    """Make the table of placed rows from the result, which is removed; keys must be unique in both parts."""
    needs_at = bool(plan.known) or isinstance(preparation.splits, CutSplits)
    reasons = _reasons(plan, needs_at=needs_at)
    placing = Placing(plan, labels, split_names(preparation.splits), reasons)
    subject = "key, target or at" if needs_at else "key or target"
    rows = engine.create(PLACED, _placed_sql(placing, preparation, needs_at=needs_at), subject=subject)
    engine.drop("result")
    return replace(placing, rows=rows)


def _reasons(plan: RowsPlan, *, needs_at: bool) -> tuple[str, ...]:
    return (NO_TARGET, *([NO_AT] if needs_at else []), *(f"null in {name}" for name in plan.drops), IN_NO_SPLIT)


def _placed_sql(placing: Placing, preparation: Preparation, *, needs_at: bool) -> str:
    plan = placing.plan
    used = _used_columns(plan, preparation.key)
    columns = [f"r.{quoted(name)} AS {placing.column(name)}" for name in used]
    key = text_sql((f"r.{quoted(name)}", plan.result.field(name).type) for name in preparation.key)
    on = " AND ".join(f"r.{quoted(name)} = m.k{i}" for i, name in enumerate(preparation.key))
    place = _place_sql(placing, preparation, needs_at=needs_at)
    at = [f"m.{AT} AS {AT}"] if needs_at else []
    selected = [*columns, *at, f"m.{GOAL} AS {GOAL}", f"{order_number_sql(key, preparation.seed)} AS {ORDER}"]
    return (
        f"SELECT {', '.join(selected)}, CAST({place} AS USMALLINT) AS {PLACE} "
        f"FROM {RESULT} AS r JOIN ({_labels_sql(placing.labels, preparation.key, needs_at=needs_at)}) AS m ON {on}"
    )


def _used_columns(plan: RowsPlan, key: Sequence[str]) -> list[str]:
    used = {*key, *plan.by, *plan.known.values(), *plan.drops, *(feature.name for feature in plan.features)}
    return [name for name in plan.result.names if name in used]


def _labels_sql(labels: Labels, key: Sequence[str], *, needs_at: bool) -> str:
    columns = [f"{quoted(name)} AS k{i}" for i, name in enumerate(key)]
    at = [f"{labels.at_sql} AS {AT}"] if needs_at else []
    return f"SELECT {', '.join([*columns, *at, f'{labels.target_sql} AS {GOAL}'])} FROM {labels.source_sql}"


def _place_sql(placing: Placing, preparation: Preparation, *, needs_at: bool) -> str:
    """Return SQL for the place: the first reason that applies, or the split."""
    plan, goal = placing.plan, f"m.{GOAL}"
    no_target = f"{goal} IS NULL" + (f" OR isnan({goal})" if pa.types.is_floating(placing.labels.target_type) else "")
    drops = [_missing_sql(plan, name) for name in plan.drops]
    conditions = [no_target, *([f"m.{AT} IS NULL"] if needs_at else []), *drops]
    first = len(placing.splits)
    whens = " ".join(f"WHEN {condition} THEN {first + i}" for i, condition in enumerate(conditions))
    return f"CASE {whens} ELSE {_split_sql(preparation, plan, otherwise=first + len(conditions))} END"


def _missing_sql(plan: RowsPlan, name: str) -> str:
    feature, sql = plan.feature(name), f"r.{quoted(name)}"
    return f"{sql} IS NULL" if feature is None else feature.missing_sql(sql)


def _split_sql(preparation: Preparation, plan: RowsPlan, *, otherwise: int) -> str:
    splits = preparation.splits
    if not isinstance(splits, HashSplits):
        return cut_sql(splits, f"m.{AT}", otherwise=otherwise)
    text = text_sql((f"r.{quoted(name)}", plan.result.field(name).type) for name in plan.by)
    return weight_sql(weight_limits(splits), split_digits_sql(text, preparation.seed))
