from __future__ import annotations

import math
import threading
import time
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from millrace import progress
from millrace.errors import UsageError
from millrace.progress import Event, MemorySink, TaskIdentity, unix_s, validate_event
from millrace.progress.curves import SERIES_MAX
from millrace.progress.reporter import METRICS_MAX
from millrace.training.progress import LoopCounter, TrainingFacts, TrainingProgress, WaitTimes
from tests.ports import free_port

FACTS = TrainingFacts(
    "flights", split="train", rank=1, world_size=2, epoch=2, step=40, steps=125, rows=1_280, total_rows=4_000,
    tiers={"process": 4, "redis": 5, "cassandra": 1}, prefetch_bytes=1_000_000,
)  # fmt: skip


class Loader:
    """A loader that stands at a position which the test moves."""

    def __init__(self, facts: TrainingFacts = FACTS) -> None:
        self.now = replace(facts, waits=WaitTimes())

    def facts(self) -> TrainingFacts:
        return self.now

    def move(self, **changed: Any) -> None:
        self.now = replace(self.now, **changed)


def events_of(loader: Any, *, run_id: str | None = "r", **options: Any) -> tuple[TrainingProgress, list[Event]]:
    sink = MemorySink()
    return TrainingProgress(loader, run_id=run_id, sinks=[sink], **options), sink.events


def data_of(events: list[Event]) -> dict[str, Any]:
    """Return the data of the newest snapshot."""
    return dict(next(event["data"] for event in reversed(events) if "done" in event["data"]))


def curves_of(events: list[Event]) -> dict[str, Any]:
    return dict(next(event["data"]["series"] for event in reversed(events) if "series" in event["data"]))


def test_a_rank_reports_its_position_its_waits_and_its_tiers() -> None:
    loader = Loader()
    for wait_s in (*[0.001] * 98, 0.2, 0.2):
        loader.now.waits.add(wait_s)
    reporter, events = events_of(loader)
    with reporter:
        pass
    first = events[0]["data"]
    assert (first["kind"], first["dataset"], first["unit"], first["phase"]) == ("train", "flights", "rows", "epoch 3")
    assert (first["run_id"], first["task_id"], first["map_index"]) == ("r", "train", 1)
    metrics = first["metrics"]
    assert metrics == {
        "epoch": 3, "step": 40, "steps": 125, "world_size": 2, "prefetch_bytes": 1_000_000,
        "wait_p50_ms": pytest.approx(1, rel=0.03), "wait_p99_ms": pytest.approx(200, rel=0.03),
        "chunks_process": 4, "chunks_redis": 5, "chunks_cassandra": 1,
    }  # fmt: skip
    for event in events:
        validate_event(event)


def test_rows_count_from_the_position_at_which_the_block_began() -> None:
    loader = Loader()
    reporter, events = events_of(loader, epochs=4)
    with reporter:
        loader.move(step=125, rows=4_000)
        assert data_of(events)["total"] == 2 * 4_000 - 1_280
        loader.move(epoch=3, step=10, rows=320)
    data = data_of(events)
    assert (data["done"], data["phase"], data["state"]) == (4_000 - 1_280 + 320, "epoch 4 of 4", "succeeded")


def test_a_loader_that_was_closed_after_the_last_epoch_is_at_the_end_of_that_epoch() -> None:
    loader = Loader()
    reporter, events = events_of(loader, epochs=4)
    with reporter:
        loader.move(epoch=4, step=0, rows=0)
    data = data_of(events)
    assert (data["phase"], data["metrics"]["step"], data["metrics"]["epoch"]) == ("epoch 4 of 4", 125, 4)
    assert data["done"] == data["total"] == 2 * 4_000 - 1_280


def test_without_epochs_and_without_the_size_of_one_the_total_is_unknown() -> None:
    for loader, epochs in ((Loader(), None), (Loader(replace(FACTS, total_rows=0)), 4)):
        reporter, events = events_of(loader, epochs=epochs)
        with reporter:
            pass
        assert data_of(events)["total"] is None


def test_the_position_is_reported_without_any_call_in_the_loop() -> None:
    loader = Loader()
    sink = MemorySink()
    with TrainingProgress(loader, run_id="r", sinks=[sink]):
        assert sink.wait_for(1)
        loader.move(step=77, rows=2_464)
        assert sink.wait_for(3)
        assert (data_of(sink.events)["metrics"]["step"], data_of(sink.events)["done"]) == (77, 2_464 - 1_280)


def test_at_most_one_event_a_second_is_sent_with_curves_and_epochs() -> None:
    loader = Loader()
    reporter, events = events_of(loader)
    began = time.monotonic()
    with reporter:
        while time.monotonic() - began < 3.3:
            loader.move(epoch=loader.now.epoch + 1, step=1)
            reporter.report(loss=1.0)
            time.sleep(0.001)
        seconds = time.monotonic() - began
        count = len(events)
    assert 3 <= count <= 1 + seconds
    times_s = [unix_s(event["time"]) or 0 for event in events[:count]]
    assert all(later - earlier > 0.99 for earlier, later in pairwise(times_s))
    assert any("series" in event["data"] for event in events[:count])


def test_metrics_become_curves_by_the_step_over_all_epochs() -> None:
    loader = Loader()
    reporter, events = events_of(loader)
    with reporter:
        reporter.report(loss=0.5, accuracy=np.float32(0.25))  # type: ignore[arg-type]  # any kind of number will do
        loader.move(step=41)
        reporter.report(loss=math.nan)
        loader.move(epoch=3, step=1)
        reporter.report(loss=0.25)
    assert curves_of(events) == {"loss": [[290, 0.5], [291, None], [376, 0.25]], "accuracy": [[290, 0.25]]}
    assert data_of(events)["metrics"]["loss"] == 0.25


def test_more_metrics_than_an_event_holds_leave_those_of_the_loader_and_the_first_ones() -> None:
    reporter, events = events_of(Loader())
    with reporter:
        reporter.report(**{f"metric {number}": number for number in range(100)})
    metrics = data_of(events)["metrics"]
    assert len(metrics) == METRICS_MAX
    assert {"step", "chunks_redis", "metric 0"} <= set(metrics)
    assert len(curves_of(events)) == SERIES_MAX
    for event in events:
        validate_event(event)


def test_a_metric_with_a_name_of_the_loader_is_overwritten_by_the_loader() -> None:
    reporter, events = events_of(Loader())
    with reporter:
        reporter.report(step=7)
    assert data_of(events)["metrics"]["step"] == 40


def test_an_error_in_the_reporting_never_reaches_the_training() -> None:
    class Broken(Loader):
        def facts(self) -> TrainingFacts:
            if self.now.step == 41:
                raise OSError("gone")
            return super().facts()

    loader = Broken()
    reporter, events = events_of(loader)
    with reporter:
        loader.move(step=41)
        reporter.report(loss=0.5)
        reporter.report(loss="high")  # type: ignore[arg-type]
    assert data_of(events)["state"] == "succeeded"


def test_the_exception_of_the_training_is_reported_and_raised() -> None:
    reporter, events = events_of(Loader())
    with pytest.raises(ZeroDivisionError), reporter:
        raise ZeroDivisionError("no rows")
    assert data_of(events)["error"] == {"type": "ZeroDivisionError", "message": "no rows"}


def test_no_thread_outlives_the_block() -> None:
    before = set(threading.enumerate())
    reporter, _ = events_of(Loader())
    with reporter:
        assert len(set(threading.enumerate()) - before) == 2
    assert set(threading.enumerate()) <= before


def test_a_running_task_reports_with_its_own_identity_and_is_not_ended() -> None:
    sink = MemorySink()
    identity = TaskIdentity("train_flights", "scheduled__1", "train", attempt=2)
    with progress.task(identity, kind="train", dataset="flights", sinks=[sink]) as task:
        with TrainingProgress(Loader(), task=task) as reporter:
            reporter.report(loss=0.5)
            assert reporter.task.identity is identity
        assert data_of(sink.events)["state"] == "running"
    data = data_of(sink.events)
    assert (data["state"], data["metrics"]["step"], data["metrics"]["loss"]) == ("succeeded", 40, 0.5)
    assert {event["source"].removesuffix("/curves") for event in sink.events} == {identity.source}


def test_a_task_together_with_a_run_id_is_refused() -> None:
    with pytest.raises(UsageError, match="a task has its own run id and sinks"):
        TrainingProgress(Loader(), task=progress.null_task(), run_id="r")


@pytest.mark.parametrize("servers", ["", "unreachable"])
def test_without_kafka_the_loop_is_not_delayed_and_ends_within_seconds(
    servers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"127.0.0.1:{free_port()}" if servers else ""
    monkeypatch.setenv("MILLRACE_KAFKA__BOOTSTRAP_SERVERS", address)
    longest_s = 0.0
    began = time.monotonic()
    with TrainingProgress(Loader(), run_id="r") as reporter:
        for _ in range(2_000):
            called_s = time.monotonic()
            reporter.report(loss=0.5)
            longest_s = max(longest_s, time.monotonic() - called_s)
    assert longest_s < 0.5
    assert time.monotonic() - began < 8


def test_a_report_costs_less_than_fifty_microseconds() -> None:
    counter = LoopCounter("flights", steps=10, total_rows=100)
    reporter, _ = events_of(counter)
    best_s = math.inf
    with reporter:
        for _ in range(5):
            began = time.thread_time()
            for _ in range(1_000):
                reporter.report(loss=0.5, accuracy=0.25)
            best_s = min(best_s, (time.thread_time() - began) / 1_000)
    print(f"one report: {best_s * 1e6:.1f} us")
    assert best_s < 50e-6
