"""The rows of each split, class and reason to drop them, by few aggregations of the placed rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from millrace.errors import UsageError
from millrace.training.prepare.engine import Engine
from millrace.training.prepare.rows.placing import GOAL, PLACE, Placing
from millrace.training.prepare.rows.splitting import TRAIN

CLASSES_MAX: Final = 65_535
"""The number of classes, and of the categories of a column."""


@dataclass(frozen=True, slots=True)
class RowCounts:
    """The rows of each split and of each reason, and the rows of each class in each split."""

    splits: Mapping[str, int]
    dropped: Mapping[str, int]
    classes: tuple[Any, ...] | None
    """Sorted; None for a target that is a number."""
    class_rows: Mapping[str, tuple[int, ...]] | None
    """For each split the rows of each class, in the order of ``classes``."""


def count_rows(engine: Engine, placing: Placing) -> RowCounts:
    """Return the counts; raise ``UsageError`` for an empty split, and for a target of one class in train."""
    places: dict[int, int] = dict(engine.rows(f"SELECT {PLACE}, count(*) FROM {placing.table} GROUP BY {PLACE}"))
    first = len(placing.splits)
    splits = {name: places.get(i, 0) for i, name in enumerate(placing.splits)}
    dropped = {reason: places[first + i] for i, reason in enumerate(placing.reasons) if first + i in places}
    for name, rows in splits.items():
        if not rows:
            raise _empty_split(name, dropped, sum(splits.values()))
    if placing.labels.is_regression:
        return RowCounts(splits, dropped, None, None)
    classes, class_rows = _count_classes(engine, placing)
    return RowCounts(splits, dropped, classes, class_rows)


def _empty_split(name: str, dropped: Mapping[str, int], left: int) -> UsageError:
    reasons = ", ".join(f"{reason}: {rows:,}" for reason, rows in dropped.items())
    return UsageError(
        f"the split {name!r} is empty; {left:,} rows are left"
        + (f", and others were dropped ({reasons})" if reasons else ""),
        hint="give other splits, or splits.by columns with more values",
        split=name,
    )


def _count_classes(engine: Engine, placing: Placing) -> tuple[tuple[Any, ...], dict[str, tuple[int, ...]]]:
    ((number,),) = engine.rows(f"SELECT count(DISTINCT {GOAL}) FROM {placing.table} WHERE {placing.kept_sql}")
    if number > CLASSES_MAX:
        raise UsageError(
            f"the target has {number:,} classes, and at most {CLASSES_MAX:,} are possible",
            hint="cast the expression of target to DOUBLE for a target that is a number",
            actual=number,
        )
    found = engine.rows(
        f"SELECT {PLACE}, {GOAL}, count(*) FROM {placing.table} WHERE {placing.kept_sql} GROUP BY {PLACE}, {GOAL}"
    )
    counts = {(place, value): rows for place, value, rows in found}
    classes = tuple(sorted({value for _, value in counts}))
    class_rows = {
        name: tuple(counts.get((place, value), 0) for value in classes) for place, name in enumerate(placing.splits)
    }
    in_train = [value for value, rows in zip(classes, class_rows[TRAIN], strict=True) if rows]
    if len(in_train) < 2:
        raise UsageError(
            f"the target has one class in the split {TRAIN!r}: {in_train[0]!r}",
            hint="check the expression of target, and the rows that were dropped",
        )
    return classes, class_rows


def class_weights(train_rows: tuple[int, ...]) -> tuple[float, ...]:
    """Return rows / (classes * rows of the class) for each class; 0 for a class without rows in train."""
    total = sum(train_rows)
    return tuple(total / (len(train_rows) * rows) if rows else 0.0 for rows in train_rows)
