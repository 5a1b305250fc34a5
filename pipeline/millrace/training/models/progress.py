"""The progress of a training function: losses by step, on the live page."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from millrace.progress import ProgressTask, null_task
from millrace.training.progress import FactsSource, TrainingProgress


class JobProgress:
    """Report losses and metrics of a training job as the running task.

    ::

        with job.loader("train") as loader:
            job.progress.follow(loader, epochs=5)
            for epoch in range(5):
                for batch in loader:
                    job.progress.report(loss=...)

    ``follow`` shows the position of a loader: epoch, step, rows and waiting times. Without it, the curves have one
    point for each call of ``report``.
    """

    def __init__(self, task: ProgressTask | None = None) -> None:
        self._task = null_task() if task is None else task
        self._followed: TrainingProgress | None = None
        self._reports = 0

    def follow(self, loader: FactsSource, *, epochs: int | None = None) -> None:
        """Show the position of this loader from now on, in place of an earlier one."""
        self.close()
        self._followed = TrainingProgress(loader, epochs=epochs, task=self._task).__enter__()

    def report(self, **metrics: float) -> None:
        """Add a point to the curve of each metric; it takes microseconds and never fails."""
        if self._followed is not None:
            self._followed.report(**metrics)
            return
        self._reports += 1
        for name, value in metrics.items():
            self._task.curve(name, self._reports, value)
        self._task.metrics(**metrics)

    def message(self, text: str) -> None:
        """Set the message that users see."""
        self._task.message(text)

    def close(self) -> None:
        """Stop following the loader; the task goes on."""
        if self._followed is not None:
            followed, self._followed = self._followed, None
            followed.__exit__(None, None, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()
