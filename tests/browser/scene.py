"""A page full of runs: loads in every state, a training run with curves, and finished runs."""

from __future__ import annotations

import math
import time
from typing import Any

from millrace.progress import TaskIdentity, airflow_event, encode_event
from millrace.progress.event import curves_event, progress_event
from tests.integration.sse_bridge.conftest import FACTS, Topic

__all__ = ["play"]


RESULT = {
    "dataset": "weather", "version": "12-3fa9c1", "kind": "table", "mode": "append",
    "raw_bytes": 34_107_112, "stored_bytes": 6_204_880, "columns_total": 42,
    "columns": [
        ["time_hour", "timestamp[us, tz=UTC]"], ["origin", "string"], ["temperature", "double"], ["wind", "double"],
        ["precipitation_in_millimetres_an_hour_at_the_station_that_is_nearest", "decimal128(38, 10)"],
        *([f"gust_{number}", "int16"] for number in range(36)),
    ],
}  # fmt: skip


def play(topic: Topic) -> None:
    """Send all events at once, with times in the past as for real runs."""
    now = time.time()
    say = _Sayer(topic)
    for hours, rows in ((3, 336_776), (2, 352_014)):
        run = ("ingest_weather", f"scheduled__2026-11-2{hours}T02:00:00+00:00")
        at = now - hours * 3600
        planned = {"load": {"splits": 1, "total": rows, "unit": "rows"}}
        say(run, "plan", at, "succeeded", kind="plan", done=1, total=1, unit="splits", elapsed_s=1.2, rate=0.8,
            result=planned)  # fmt: skip
        say(run, "load", at + 8, "succeeded", done=rows, total=rows, elapsed_s=6.4, rate=rows / 6.4, index=0)
        say(run, "verify", at + 12, "succeeded", kind="verify", done=rows, total=rows, elapsed_s=2.1, rate=rows / 2.1)
        result = {**RESULT, "rows": rows, "total_rows": 336_776 if hours == 3 else 688_790}
        say(run, "publish", at + 14, "succeeded", kind="publish", done=rows, total=rows, elapsed_s=0.4, rate=None,
            result=result)  # fmt: skip
    failed = ("ingest_dataset", "manual__2026-11-25T14:02:11+00:00")
    at = now - 900
    say(failed, "plan", at, "succeeded", kind="plan", done=2, total=2, unit="splits", elapsed_s=0.9, rate=2.2)
    say(
        failed,
        "load",
        at + 20,
        "failed",
        done=61_204,
        total=240_000,
        elapsed_s=9.0,
        rate=6800.0,
        index=0,
        error={"type": "SourceError", "message": "flights.csv, line 61,207: 'abc' in column dep_delay is no number"},
    )
    say(failed, "load", at + 26, "succeeded", done=96_776, total=96_776, elapsed_s=4.0, rate=24_000.0, index=1)
    for task in ("verify", "publish", "warm"):
        say.airflow(failed, task, "cancelled", at + 27, "not run: an upstream task failed")
    run = ("ingest_dataset", "manual__2026-11-25T15:20:00+00:00")
    say(run, "plan", now - 62, "succeeded", kind="plan", done=4, total=4, unit="splits", elapsed_s=0.9, rate=4.4)
    for index, share in enumerate((1.0, 0.62, 0.31)):
        say.moving(run, "load", now, share, index, finished=share == 1.0)
    say(
        run,
        "load",
        now - 1,
        "retrying",
        done=12_000,
        total=336_776,
        elapsed_s=3.0,
        rate=4000.0,
        index=3,
        counters={"retries": 3},
        error={"type": "StoreUnavailableError", "message": "neither node answers"},
    )
    for task in ("verify", "publish", "warm"):
        say.airflow(run, task, "queued", now - 60)
    training = ("train_model", "dataset_triggered__2026-11-25T15:18:00+00:00")
    say(
        training,
        "train",
        now,
        "running",
        kind="train",
        phase="epoch 3 of 5",
        done=1_240,
        total=2_000,
        unit="steps",
        elapsed_s=95.0,
        rate=13.1,
        metrics={"loss": 0.3127, "val_loss": 0.3391, "accuracy": 0.8713, "epoch": 3},
        dataset="flights_train",
    )
    say.curves(training, "train", now)
    command = ("cli", "weather-3fa9c1")
    say(
        command,
        "load",
        now,
        "running",
        phase="write",
        done=212_000_000,
        total=None,
        unit="bytes",
        elapsed_s=14.0,
        rate=15_400_000.0,
        counters={"under_replicated": 3},
        message="reading from standard input",
        dataset="weather",
    )
    topic.flush()


class _Sayer:
    def __init__(self, topic: Topic) -> None:
        self.topic = topic
        self.sequence = 0

    def __call__(
        self, run: tuple[str, str], task: str, at: float, state: str, *, index: int = -1, attempt: int = 1, **facts: Any
    ) -> None:  # fmt: skip
        self.sequence += 1
        identity = TaskIdentity(*run, task, index, attempt)
        event_facts = {**FACTS, "state": state, **facts}
        self._send(progress_event(identity, self.sequence, at, event_facts), run)

    def moving(self, run: tuple[str, str], task: str, now: float, share: float, index: int, *, finished: bool) -> None:
        total, took = 336_776, 30
        for second in range(took + 1):
            done = round(total * share * second / took)
            state = "succeeded" if finished and second == took else "running"
            self(run, task, now - took + second, state, index=index, phase="write", done=done, total=total,
                 elapsed_s=float(second) + 0.5, rate=total * share / took, counters={"chunks": second})  # fmt: skip

    def airflow(self, run: tuple[str, str], task: str, state: str, at: float, why: str = "") -> None:
        error = {"type": "Airflow", "message": why} if why else None
        self._send(airflow_event(TaskIdentity(*run, task), state, time_s=at, error=error), run)

    def curves(self, run: tuple[str, str], task: str, now: float) -> None:
        steps = range(0, 1240, 5)
        series = {
            "loss": [[s, 0.3 + math.exp(-s / 300) + 0.03 * math.sin(s * 1.7)] for s in steps],
            "val_loss": [[s, 0.33 + math.exp(-s / 320)] for s in steps],
            "accuracy": [[s, 0.88 - 0.5 * math.exp(-s / 250)] for s in steps],
        }
        facts = {"kind": "train", "dataset": "flights_train"}
        self._send(curves_event(TaskIdentity(*run, task), 1, now, facts, series), run)

    def _send(self, event: dict[str, Any], run: tuple[str, str]) -> None:
        self.topic.send(encode_event(event), key=event["source"], dag=run[0], run=run[1], flush=False)
