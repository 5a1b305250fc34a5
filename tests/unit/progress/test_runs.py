"""When the time left of a task is known, and its value."""

from __future__ import annotations

from typing import Any

import pytest

from millrace.cli.live import time_left
from millrace.progress.merge import TaskState
from millrace.progress.runs import left_s_of

SAID = {"done": 40, "total": 100, "rate": 2.0, "elapsed_s": 5.0, "unit": "rows"}


def task(state: str = "running", **said: Any) -> TaskState:
    return TaskState(("d", "r", "load", -1), 1, state, None, {**SAID, **said}, "s")


@pytest.mark.parametrize(
    ("seen", "left_s"),
    [
        (task(), 30),
        (task(done=120), 0),
        (task(rate=1e-7), 6e8),
        (task(rate=6e-8), None),
        (task(elapsed_s=4.9), None),
        (task(rate=None), None),
        (task(total=None), None),
        (task("stalled"), None),
        (TaskState(("d", "r", "load", -1), 1, "running", None, {}, "s"), None),
    ],
)
def test_the_time_left_is_known_while_a_task_runs_with_a_rate_after_five_seconds(
    seen: TaskState, left_s: float | None
) -> None:
    assert left_s_of(seen) == (None if left_s is None else pytest.approx(left_s))
    assert bool(time_left(seen)) == (left_s is not None)
