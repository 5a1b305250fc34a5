"""Train a linear model on a version of ``flights`` with NumPy alone, stop in the middle, and continue exactly there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from millrace import connect

FEATURES = ["distance", "hour", "month"]
OPTIONS: dict[str, Any] = {
    "columns": [*FEATURES, "arr_delay"],
    "nulls": {"arr_delay": 0},
    "normalize": {"distance": (1040.0, 733.0), "hour": (13.2, 4.7), "month": (6.5, 3.4)},
}


def gradient(weights: np.ndarray, batch: dict[str, np.ndarray]) -> np.ndarray:
    features = np.stack([*(batch[name] for name in FEATURES), np.ones(len(batch["hour"]), np.float32)], axis=1)
    error = features @ weights - batch["arr_delay"]
    return features.T @ error / len(error)


weights = np.zeros(len(FEATURES) + 1)
checkpoint = Path("checkpoint.json")
with connect() as store:
    with store.dataset("flights").training(global_batch_rows=4096, seed=7, **OPTIONS) as loader:
        for step, batch in enumerate(loader):
            weights -= 0.05 * gradient(weights, batch)
            if step == 9:
                # The state goes into the same file as the weights. Batches that are read ahead do not count.
                checkpoint.write_text(json.dumps({"weights": weights.tolist(), "loader": loader.state_dict()}))
                break

    saved = json.loads(checkpoint.read_text())
    weights = np.array(saved["weights"])
    # ``resume`` opens the version of the state, even if ``flights`` has a newer one by now.
    with store.resume(saved["loader"], global_batch_rows=4096, **OPTIONS) as loader:
        steps = 10
        while loader.epoch < 3:
            for batch in loader:
                weights -= 0.05 * gradient(weights, batch)
                steps += 1
print(f"{steps} steps, weights {np.round(weights, 2).tolist()}")
