"""Prepared rows: the result of the query, joined with its labels, checked, and ready to be read in stored order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from millrace.errors import UsageError
from millrace.progress import ProgressTask
from millrace.training.prepare.engine import Engine
from millrace.training.prepare.entry import TARGET, Preparation
from millrace.training.prepare.query import CheckedQuery
from millrace.training.prepare.rows.categories import find_categories
from millrace.training.prepare.rows.key_checks import check_joined, check_keys, check_known, check_zones
from millrace.training.prepare.rows.labels import find_labels
from millrace.training.prepare.rows.leaks import leak_warnings
from millrace.training.prepare.rows.null_checks import check_nulls
from millrace.training.prepare.rows.placing import NOT_IN_RESULT, Placing, place_rows
from millrace.training.prepare.rows.plan import RowsPlan, plan_rows
from millrace.training.prepare.rows.splitting import TRAIN
from millrace.training.prepare.rows.statistics import TrainStatistics
from millrace.training.prepare.rows.stream import sorted_batches
from millrace.training.prepare.rows.targets import RowCounts, count_rows


@dataclass(frozen=True, slots=True)
class PreparedRows:
    """Rows in a table of the engine, which must stay open, and their counts."""

    schema: pa.Schema
    """The stored columns: key, by, target, features, indicator columns."""
    plan: RowsPlan
    counts: RowCounts
    categories: Mapping[str, tuple[Any, ...]]
    rows_in: int
    dropped: Mapping[str, int]
    warnings: tuple[str, ...]
    _engine: Engine
    _placing: Placing

    @property
    def features(self) -> tuple[str, ...]:
        """Return the names of the features, and of the indicator columns behind them."""
        return (*(feature.name for feature in self.plan.features), *self.plan.indicators)

    @property
    def classes(self) -> tuple[Any, ...] | None:
        """Return the classes of the target, sorted; None for a target that is a number."""
        return self.counts.classes

    @property
    def split_rows(self) -> Mapping[str, int]:
        """Return the rows of each split, in stored order."""
        return self.counts.splits

    def batches(self, *, batch_rows: int) -> Iterator[tuple[str, pa.RecordBatch]]:
        """Yield each split and its rows in stored order, ``batch_rows`` at a time; the rest comes last."""
        return sorted_batches(self._engine, self._placing, self.schema, self.split_rows, batch_rows=batch_rows)

    def statistics(self) -> TrainStatistics:
        """Return statistics to which the batches of ``train`` are to be added."""
        target = [] if self.classes is not None else [TARGET]
        return TrainStatistics([*self.features, *target], categories=self.categories)


def make_rows(
    engine: Engine,
    preparation: Preparation,
    query: CheckedQuery,
    codes: Mapping[str, Sequence[Any]],
    task: ProgressTask,
) -> PreparedRows:
    """Return the rows of a query that ``Engine.run_query`` has run; its table ``result`` is removed.

    ``codes`` has the values of each category whose codes are kept, in the order of these. Raises ``UsageError`` for
    data that breaks a rule.
    """
    task.phase("labels")
    plan = plan_rows(preparation, engine.result_schema(query))
    labels = find_labels(engine, preparation)
    check_zones(preparation, plan, labels)
    rows_in, rows = check_keys(engine, preparation)
    if not rows:
        raise UsageError("the query returns no rows", hint="check its joins and conditions")
    task.phase("join")
    placing = place_rows(engine, preparation, plan, labels)
    task.phase("check")
    counts = _checked_counts(engine, preparation, placing, rows)
    categories = find_categories(engine, placing, codes)
    warnings = leak_warnings(engine, placing, counts.classes, counts.splits[TRAIN])
    missing = {NOT_IN_RESULT: rows_in - rows} if rows < rows_in else {}
    return PreparedRows(
        schema=plan.stored_schema(labels.target_type),
        plan=plan,
        counts=counts,
        categories=categories,
        rows_in=rows_in,
        dropped={**missing, **counts.dropped},
        warnings=warnings,
        _engine=engine,
        _placing=placing,
    )


def _checked_counts(engine: Engine, preparation: Preparation, placing: Placing, rows: int) -> RowCounts:
    check_joined(preparation, rows=rows, placed=placing.rows)
    check_known(engine, preparation, placing)
    counts = count_rows(engine, placing)
    check_nulls(engine, placing)
    return counts
