"""The progress of one rank of a training job: at most one event a second, and no wait in the training loop."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from types import TracebackType
from typing import Final, Self

from millrace import progress
from millrace.errors import UsageError
from millrace.progress import ProgressTask, Sink
from millrace.settings import load_settings
from millrace.training.progress.facts import FactsSource, TrainingFacts
from millrace.training.progress.identity import identity_of_rank

logger = logging.getLogger(__name__)

EVENT_INTERVAL_S: Final = 1.0
CLOSE_S: Final = 1.0
"""Time that the end of the block waits for the last events, beyond the flush of the task."""
_QUANTILES: Final = (("wait_p50_ms", 0.5), ("wait_p99_ms", 0.99))


class TrainingProgress:
    """Report the block of a ``with`` statement as the training of one rank.

    ::

        with TrainingProgress(loader, epochs=3) as progress:
            for epoch in range(3):
                for batch in loader:
                    progress.report(loss=train(batch))

    A thread asks ``loader.facts()`` once a second, so steps, rows and waiting times are reported without any call in
    the loop. ``report`` adds losses and other metrics. The end of the block is reported as in
    ``millrace.progress.task``.

    ``loader`` is anything with ``facts()``; ``LoopCounter`` counts for other loaders. Create the object after
    ``load_state_dict``, because ``done`` and ``total`` count from the loader's position. ``total`` is unknown
    without ``epochs``.

    ``run_id`` must be the same in all ranks of a job; ``identity_of_rank`` has the rules. ``task`` is the running task
    that reports instead, for example that of an Airflow task; its own block then ends it. ``sinks`` receive the events;
    by default they go to Kafka as the settings say.
    """

    def __init__(
        self,
        loader: FactsSource,
        *,
        epochs: int | None = None,
        run_id: str | None = None,
        task: ProgressTask | None = None,
        sinks: Sequence[Sink] | None = None,
    ) -> None:
        if task is not None and (run_id is not None or sinks is not None):
            raise UsageError("a task has its own run id and sinks", hint="give task alone, or run_id and sinks")
        self._loader, self._epochs = loader, epochs
        first = loader.facts()
        self._first_row = first.position_rows
        self._block = ExitStack()
        self._task = self._own_task(first, run_id, sinks) if task is None else task
        self._task.limit_events(EVENT_INTERVAL_S)
        self._is_own = task is None
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def _own_task(self, first: TrainingFacts, run_id: str | None, sinks: Sequence[Sink] | None) -> ProgressTask:
        identity = identity_of_rank(first, run_id)
        if sinks is None:
            sink = progress.kafka_sink(load_settings().kafka)
            self._block.callback(sink.close, CLOSE_S)
            sinks = [sink]
        return progress.task(identity, kind="train", dataset=first.dataset, sinks=sinks)

    @property
    def task(self) -> ProgressTask:
        """Return the task that reports; its ``identity`` says where the rank appears."""
        return self._task

    def report(self, **metrics: float) -> None:
        """Add a point to the curve of each metric at the present step, and make it the metric's newest value.

        It takes microseconds. Give numbers: a tensor on a GPU is a number only after the device has computed it. The
        names of the loader's own metrics, such as ``step``, are overwritten by the loader's values.
        """
        try:
            step = self._loader.facts().position_steps
            for name, value in metrics.items():
                self._task.curve(name, step, value)
            self._task.metrics(**metrics)
        except Exception:
            # Reporting must never fail the training.
            logger.debug("the metrics could not be reported", exc_info=True)

    def __enter__(self) -> Self:
        self._sample()
        if self._is_own:
            self._block.enter_context(self._task)
        self._thread = threading.Thread(target=self._keep_sampling, name="training-progress", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join(EVENT_INTERVAL_S)
        self._sample()
        self._block.__exit__(kind, error, trace)

    def _keep_sampling(self) -> None:
        while not self._over.wait(EVENT_INTERVAL_S):
            self._sample()

    def _sample(self) -> None:
        try:
            self._apply(self._loader.facts())
        except Exception:
            logger.debug("the facts of the training could not be reported", exc_info=True)

    def _apply(self, facts: TrainingFacts) -> None:
        """Bring the next event up to date. Epochs are counted from 1, as on the page."""
        facts = self._within_epochs(facts)
        task, epoch = self._task, facts.epoch + 1
        task.phase(f"epoch {epoch:,} of {self._epochs:,}" if self._epochs else f"epoch {epoch:,}")
        task.advance_to(facts.position_rows - self._first_row)
        if self._epochs and facts.total_rows:
            task.set_total(max(self._epochs * facts.total_rows - self._first_row, 0))
        task.metrics(epoch=epoch, **metrics_of(facts))

    def _within_epochs(self, facts: TrainingFacts) -> TrainingFacts:
        """Return the end of the last epoch for a loader that was closed there: it is at the begin of the next one."""
        if self._epochs is None or (facts.epoch, facts.step) != (self._epochs, 0):
            return facts
        return replace(facts, epoch=self._epochs - 1, step=facts.steps, rows=facts.total_rows)


def metrics_of(facts: TrainingFacts) -> dict[str, float]:
    """Return the loader's own metrics, without those that are unknown; ``millrace.progress`` describes them."""
    metrics: dict[str, float] = {"step": facts.step, "steps": facts.steps, "world_size": facts.world_size}
    waits = {name: facts.waits.quantile(q) for name, q in _QUANTILES}
    metrics |= {name: round(seconds * 1000, 4) for name, seconds in waits.items() if seconds is not None}
    metrics |= {f"chunks_{tier}": count for tier, count in facts.tiers.items()}
    return metrics | ({"prefetch_bytes": facts.prefetch_bytes} if facts.prefetch_bytes else {})
