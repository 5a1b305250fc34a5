from __future__ import annotations

import pytest

from millrace.progress.snapshot import Snapshot


def test_the_rate_is_that_of_the_last_thirty_seconds() -> None:
    snapshot = Snapshot("load", "flights", None, "rows")
    snapshot.started_s, snapshot.state = 1000.0, "running"
    rates = []
    for second in range(60):
        snapshot.done = second * 10 if second <= 30 else 300 + (second - 30) * 100
        rates.append(snapshot.facts(1000.0 + second)["rate"])
    assert rates[10] == 10.0
    assert rates[-1] == pytest.approx(100.0, rel=0.05)
    snapshot.state = "succeeded"
    assert snapshot.facts(1059.0)["rate"] == pytest.approx(3200 / 59, rel=0.01)
