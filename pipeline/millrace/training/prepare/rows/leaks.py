"""Warn of features that alone nearly decide the target: most likely they are known only after it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np

from millrace.training.prepare.engine import Engine, literal
from millrace.training.prepare.rows.features import Feature
from millrace.training.prepare.rows.placing import GOAL, ORDER, PLACE, Placing
from millrace.training.prepare.rows.splitting import TRAIN

LEAK_AUC: Final = 0.85
SAMPLE_ROWS: Final = 131_072
"""Rows of train that are examined, about; all of them where train has fewer."""
_FEATURES_AT_A_TIME: Final = 8
_HASHES: Final = 2**128
_BATCH_ROWS: Final = 65_536


def leak_warnings(
    engine: Engine, placing: Placing, classes: Sequence[Any] | None, train_rows: int, *, sample_rows: int = SAMPLE_ROWS
) -> tuple[str, ...]:
    """Return a warning for each numeric feature whose own AUC for a target of two classes exceeds 0.85.

    An AUC as far below one half counts like that of the negated feature. Rows are chosen by their hash, which is as
    good as by chance and the same in every run.
    """
    if classes is None or len(classes) != 2:
        return ()
    features = [feature for feature in placing.plan.features if feature.is_number]
    warnings = []
    for start in range(0, len(features), _FEATURES_AT_A_TIME):
        some = features[start : start + _FEATURES_AT_A_TIME]
        for feature, auc in _aucs(engine, placing, some, classes[1], sample_rows / train_rows):
            if auc is not None and max(auc, 1 - auc) > LEAK_AUC:
                warnings.append(
                    f"the feature {feature.name!r} alone has an AUC of {auc:.2f} for the target; check that it is "
                    "known at the moment of prediction"
                )
    return tuple(warnings)


def _aucs(
    engine: Engine, placing: Placing, features: Sequence[Feature], positive: Any, share: float
) -> Iterator[tuple[Feature, float | None]]:
    columns = ", ".join(f"CAST({placing.column(feature.name)} AS DOUBLE)" for feature in features)
    chosen = f" AND {ORDER} < CAST('{int(share * _HASHES)}' AS UHUGEINT)" if share < 1 else ""
    sql = (
        f"SELECT {GOAL} = {literal(positive)}, {columns} FROM {placing.table} "
        f"WHERE {PLACE} = {placing.place_of(TRAIN)}{chosen}"
    )
    parts = [[_numbers(column) for column in batch.columns] for batch in engine.batches(sql, batch_rows=_BATCH_ROWS)]
    if not parts:
        return
    goal, *values = (np.concatenate(column) for column in zip(*parts, strict=True))
    for feature, column in zip(features, values, strict=True):
        yield feature, auc_of(column, goal > 0)


def _numbers(column: Any) -> Any:
    return column.cast("float64").to_numpy(zero_copy_only=False)


def auc_of(values: Any, positive: Any) -> float | None:
    """Return the area under the ROC curve of values for a boolean array; ties count one half, and NaN is left out.

    None where one of the two classes has no value.
    """
    valid = ~np.isnan(values)
    distinct, place = np.unique(values[valid], return_inverse=True)
    of_true = np.bincount(place[positive[valid]], minlength=len(distinct))
    of_false = np.bincount(place[~positive[valid]], minlength=len(distinct))
    pairs = int(of_true.sum()) * int(of_false.sum())
    # Twice the pairs in the right order, as whole numbers: the order of the rows does not matter to the last bit.
    ordered = int((of_true * (2 * np.cumsum(of_false) - of_false)).sum())
    return ordered / (2 * pairs) if pairs else None
