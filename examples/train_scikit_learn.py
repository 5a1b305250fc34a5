"""Train scikit-learn's ``SGDClassifier`` by ``partial_fit``, and evaluate it on every row exactly once.

scikit-learn is in the extra ``prepare``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.linear_model import SGDClassifier

from millrace import connect

FEATURES = ["distance", "hour", "month"]
OPTIONS: dict[str, Any] = {
    "columns": [*FEATURES, "arr_delay"],
    "nulls": {"arr_delay": 0},
    "normalize": {"distance": (1040.0, 733.0), "hour": (13.2, 4.7), "month": (6.5, 3.4)},
}


def features(batch: dict[str, np.ndarray]) -> np.ndarray:
    return np.stack([batch[name] for name in FEATURES], axis=1)


model = SGDClassifier(loss="log_loss", random_state=7)
with connect() as store:
    flights = store.dataset("flights")
    with flights.training(global_batch_rows=4096, seed=7, **OPTIONS) as loader:
        for batch in loader:
            model.partial_fit(features(batch), batch["arr_delay"] > 15, classes=[False, True])

    # Every row once: no shuffle, and the last batch is as long as it is.
    correct = rows = 0
    with flights.training(global_batch_rows=4096, shuffle="none", tail="uneven", **OPTIONS) as loader:
        for batch in loader:
            correct += int((model.predict(features(batch)) == (batch["arr_delay"] > 15)).sum())
            rows += len(batch["arr_delay"])
assert rows == flights.count_rows()
print(f"{rows:,} rows, {correct / rows:.3f} of them predicted correctly")
