"""The progress of a training function: curves by the steps of a loader, or by its own calls."""

from __future__ import annotations

from typing import Any

from millrace import progress
from millrace.progress import MemorySink, TaskIdentity
from millrace.training import TrainingFacts
from millrace.training.models import JobProgress


class Position:
    """The position of a loader that the test sets."""

    def __init__(self) -> None:
        self.step = 0

    def facts(self) -> TrainingFacts:
        return TrainingFacts("late_arrivals", step=self.step, steps=10, rows=self.step * 5, total_rows=50)


def curves(sink: MemorySink) -> dict[str, Any]:
    return next(event["data"]["series"] for event in reversed(sink.events) if event["source"].endswith("/curves"))


def last(sink: MemorySink) -> dict[str, Any]:
    return next(event["data"] for event in reversed(sink.events) if not event["source"].endswith("/curves"))


def test_curves_have_the_steps_of_the_loader_that_is_followed() -> None:
    sink, loader = MemorySink(), Position()
    task = progress.task(TaskIdentity("python", "run", "train"), kind="train", sinks=[sink])
    with task, JobProgress(task) as reported:
        reported.follow(loader, epochs=2)
        for loader.step in (3, 6):
            reported.report(loss=1 / loader.step)
    assert curves(sink)["loss"] == [[3, 1 / 3], [6, 1 / 6]]
    assert (last(sink)["kind"], last(sink)["total"], last(sink)["done"]) == ("train", 100, 30)
    assert last(sink)["metrics"]["loss"] == 1 / 6


def test_without_a_loader_each_report_is_a_step() -> None:
    sink = MemorySink()
    with progress.task(TaskIdentity("python", "run", "train"), kind="train", sinks=[sink]) as task:
        reported = JobProgress(task)
        for value in (0.5, 0.25):
            reported.report(val_auc=value)
    assert curves(sink)["val_auc"] == [[1, 0.5], [2, 0.25]]


def test_without_a_task_nothing_is_sent_and_nothing_fails() -> None:
    with JobProgress() as reported:
        reported.follow(Position(), epochs=1)
        reported.report(loss=float("nan"))
        reported.message("half of it")
