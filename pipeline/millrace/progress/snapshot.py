"""The current values of one attempt, from which each of its events is made."""

from __future__ import annotations

import time
from collections import Counter, deque
from typing import Any, Final

from millrace.progress.event import ATTEMPT_OVER, COUNTERS
from millrace.progress.values import finite_number

RATE_WINDOW_S: Final = 30.0


class Snapshot:
    """The values that the next event of an attempt carries. Not thread-safe."""

    def __init__(self, kind: str, dataset: str, total: float | None, unit: str) -> None:
        self.kind, self.dataset, self.unit = kind, dataset, unit
        self.state, self.phase, self.message = "queued", "", ""
        self.error: dict[str, str] | None = None
        self.done: float = 0
        self.total = finite_number(total)
        self.counters = Counter(dict.fromkeys(COUNTERS, 0))
        self.metrics: dict[str, float | None] = {}
        self.result: dict[str, Any] | None = None
        self.started_s = time.monotonic()
        self._samples: deque[tuple[float, float]] = deque()

    def facts(self, now_s: float) -> dict[str, Any]:
        """Return the fields of an event that is sent at ``now_s`` (monotonic), and add a sample for the rate."""
        self._samples.append((now_s, self.done))
        while len(self._samples) > 2 and self._samples[1][0] <= now_s - RATE_WINDOW_S:
            self._samples.popleft()
        return {
            "kind": self.kind,
            "dataset": self.dataset,
            "state": self.state,
            "phase": self.phase,
            "done": finite_number(self.done) or 0,
            "total": self.total,
            "unit": self.unit,
            "rate": self._rate(now_s),
            "elapsed_s": round(now_s - self.started_s, 3),
            "counters": {name: finite_number(value) or 0 for name, value in self.counters.items()},
            "metrics": dict(self.metrics),
            "message": self.message,
            "error": self.error,
            **({"result": self.result} if self.result else {}),
        }

    def _rate(self, now_s: float) -> float | None:
        """Return the rate in units a second: over the last 30 s, or over the whole attempt once it is over."""
        since_s, done_before = (self.started_s, 0.0) if self.state in ATTEMPT_OVER else self._samples[0]
        done, span_s = finite_number(self.done) or 0, now_s - since_s
        return round((done - done_before) / span_s, 3) if span_s >= 0.2 else None
