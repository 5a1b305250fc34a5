"""One rank of a training job in a process of its own: it pauses in its second epoch until it is told to go on."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from multiprocessing.connection import Connection

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from millrace import progress
from millrace.settings import KafkaSettings
from millrace.training import TrainingLoader
from millrace.training.progress import TrainingFacts, TrainingProgress
from tests.integration.training.ranks import Batch, chunks_when_full

EPOCHS, STEPS, PAUSED_AT = 3, 40, 30
SLOW_S = 0.025
FEATURES = 64


@dataclass(frozen=True)
class Pause:
    """The facts of a rank that pauses, and its loss at each step."""

    facts: TrainingFacts
    losses: dict[int, float]


def table(rows: int) -> pa.Table:
    """Return rows with features, and a value that follows from them but for noise."""
    random = np.random.default_rng(7)
    features = random.standard_normal((rows, FEATURES), dtype=np.float32)
    weights = np.linspace(0, 1, FEATURES, dtype=np.float32)
    value = features @ weights + random.standard_normal(rows, dtype=np.float32)
    return pa.table({"x": pa.FixedSizeListArray.from_arrays(pa.array(features.ravel()), FEATURES), "y": value})


def slow(batch: Batch) -> Batch:
    time.sleep(SLOW_S)
    return batch


def train(loader: TrainingLoader, kafka: KafkaSettings, run_id: str, test: Connection) -> None:
    """Train for three epochs; rank r sends a ``Pause`` after 30 - r steps of the second, and waits for a message."""
    sink = progress.kafka_sink(kafka)
    model, losses = Model(), dict[int, float]()

    def learn(batches: Iterable[Batch]) -> None:
        for batch in batches:
            losses[len(losses) + 1] = loss = model.learn(batch)
            reporter.report(loss=loss, accuracy=0.5)

    with loader, TrainingProgress(loader, epochs=EPOCHS, run_id=run_id, sinks=[sink]) as reporter:
        learn(loader)
        batches = iter(loader)
        learn(islice(batches, PAUSED_AT - loader.rank))
        chunks_when_full(loader)
        test.send(Pause(loader.facts(), losses))
        test.recv()
        learn(batches)
        learn(loader)
    sink.close()


class Model:
    """A linear regression."""

    def __init__(self) -> None:
        self._weights: npt.NDArray[np.float32] = np.zeros(FEATURES, np.float32)

    def learn(self, batch: Batch) -> float:
        """Return the loss of the batch, and descend along its gradient."""
        errors = batch["x"] @ self._weights - batch["y"]
        self._weights -= 0.02 * (errors @ batch["x"]) / len(errors)
        return float((errors**2).mean())
