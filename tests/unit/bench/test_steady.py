"""Figures of the long-running benchmarks: pauses between events, amounts, percentiles, and the allowed names."""

from __future__ import annotations

import pytest

from bench.failover import _Fault, _tell
from bench.options import Options
from bench.report import Report
from bench.steady import Story
from bench.traffic import percentile
from millrace.errors import InvalidSettingError


def story(*times: float, replicas: int = 2) -> Story:
    return Story(events=[(at, 10, replicas) for at in times], waits=[(at, at / 100) for at in times])


def test_the_longest_pause_counts_the_edges_and_every_event_between() -> None:
    assert story(1.0, 2.0, 5.0, 6.0).longest_pause_s(0.0, 7.0) == 3.0
    assert story(1.0, 2.0).longest_pause_s(0.0, 7.0) == 5.0
    assert story(9.0).longest_pause_s(0.0, 7.0) == 7.0, "what came too late is a pause to the end"
    assert story().longest_pause_s(0.0, 7.0) == 7.0


def test_amounts_and_waits_cover_the_requested_interval() -> None:
    events = story(1.0, 2.0, 3.0)
    assert events.amount(1.0, 3.0) == 20
    assert events.waits_between(2.0, 4.0) == [0.02, 0.03]


def test_a_story_counts_its_degraded_chunks() -> None:
    assert story(1.0, 2.0, replicas=1).degraded == 2
    assert story(1.0).degraded == 0
    assert story(1.0, replicas=0).degraded == 0, "batches that were read prove nothing"
    assert story(1.0, 2.0, 3.0, replicas=1).degraded_since(2.0) == 1, "a fault is not what was degraded before it"


@pytest.mark.parametrize(("share", "value"), [(0.0, 1), (0.5, 3), (0.99, 4), (1.0, 4)])
def test_a_percentile_is_one_of_the_values(share: float, value: float) -> None:
    assert percentile([1, 2, 3, 4], share) == value
    assert percentile([], share) == 0.0


def test_counts_and_times_are_reported_only_under_allowed_names() -> None:
    report = Report("failover")
    report.number("failed_reads", 0)
    report.number("longest_pause_killed_s", 0.1234567)
    assert report.to_json()["ratios"] == {"failed_reads": 0, "longest_pause_killed_s": 0.1235}
    with pytest.raises(InvalidSettingError):
        report.number("failed_writes", 0)
    with pytest.raises(InvalidSettingError):
        report.number("failed_loads", float("nan"))


def fault(kind: str, load: Story, reader: Story) -> _Fault:
    """Return a fault at 100 s whose node is started or thawed at 160 s; both records end at 200 s."""
    load.told_at = reader.told_at = 200.0
    return _Fault(kind, "cassandra-2", 100.0, 160.0, load, reader)


def every_half_second(*, but: tuple[float, float] = (0.0, 0.0)) -> Story:
    times = [at / 2 for at in range(100, 420)]
    return story(*(at for at in times if not but[0] < at < but[1]), replicas=1)


def test_the_longest_pause_counts_only_until_the_node_returns() -> None:
    assert fault("kill", every_half_second(), every_half_second()).longest_pause_s == 0.5
    assert fault("kill", every_half_second(but=(150, 155)), every_half_second()).longest_pause_s == 5
    assert fault("kill", every_half_second(but=(170, 175)), every_half_second()).longest_pause_s == 0.5
    assert fault("kill", every_half_second(), every_half_second(but=(200, 230))).longest_pause_s == 0.5


def test_failover_reports_missed_aims_and_fails_if_a_read_failed() -> None:
    reader = every_half_second()
    reader.failed.append("StoreError: no")
    faults = [
        fault("kill", every_half_second(but=(150, 155)), reader),
        fault("freeze", every_half_second(), every_half_second()),
    ]
    report = Report("failover")
    _tell(report, Options(), faults)
    assert report.failures == ["failed_reads is 1"]
    assert report.aims["longest_pause_killed_s"] == "aim at most 1: missed"
    assert report.aims["longest_pause_frozen_s"] == "aim at most 3: met"
    assert report.aims["throughput_after"] == "aim at least 0.7: met"
    assert "failed: StoreError: no" in report.notes
