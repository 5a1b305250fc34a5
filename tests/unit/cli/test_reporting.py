from __future__ import annotations

import io
import sys
from typing import Any

import pytest

from millrace import progress
from millrace.cli import reporting
from millrace.cli.output import say
from millrace.cli.reporting import Bar, draws_bars, reported
from millrace.errors import LoadInterruptedError
from millrace.progress import MemorySink
from millrace.settings import KafkaSettings


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def sink(monkeypatch: pytest.MonkeyPatch) -> MemorySink:
    memory = MemorySink()
    monkeypatch.setattr(progress, "kafka_sink", lambda _settings: memory)
    return memory


def report(**more: Any) -> Any:
    return reported(KafkaSettings(), command="load", dataset="flights", run="flights-1", total=10, **more)


def test_a_command_reports_itself_as_a_task_of_the_run(sink: MemorySink) -> None:
    with report(unit="rows") as progress_:
        progress_.task.phase("write")
        progress_.task.advance(10)
    events = [event["data"] for event in sink.events]
    assert sink.events[0]["source"] == "/cli/cli/flights-1/load/-1/1"
    assert {(e["dag_id"], e["run_id"], e["task_id"], e["kind"], e["dataset"]) for e in events} == {
        ("cli", "flights-1", "load", "load", "flights")
    }
    assert [(e["state"], e["done"], e["total"]) for e in events[-1:]] == [("succeeded", 10, 10)]
    assert sink.closed
    assert progress_.missing == []


@pytest.mark.parametrize(("error", "state"), [(ValueError("x"), "failed"), (LoadInterruptedError("x"), "cancelled")])
def test_the_last_event_has_the_final_state_of_the_command(sink: MemorySink, error: Exception, state: str) -> None:
    with pytest.raises(type(error)), report():
        raise error
    assert sink.events[-1]["data"]["state"] == state
    assert sink.closed


def test_dropped_events_are_reported_as_missing_progress(sink: MemorySink) -> None:
    sink.dropped = 2  # type: ignore[attr-defined]
    with report() as progress_:
        pass
    assert progress_.missing == ["progress"]


def test_without_kafka_nothing_is_sent_anywhere(sink: MemorySink) -> None:
    with reported(None, command="read", dataset="flights", total=None) as progress_:
        progress_.task.advance(1)
    assert sink.events == []


def test_bars_are_drawn_on_terminals_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert draws_bars()
    monkeypatch.setenv("TERM", "dumb")
    assert not draws_bars()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert not draws_bars()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (
            {"done": 120_000, "total": 480_000, "unit": "rows", "rate": 60_000.0},
            ("120,000 of 480,000 rows", "60,000/s", "6.00 s left"),
        ),
        (
            {"done": 1_500_000, "total": 3e6, "unit": "bytes", "rate": 500_000.0},
            ("1.50 MB of 3.00 MB", "500 kB/s", "3.00 s left"),
        ),
        ({"done": 7, "total": None, "unit": "rows", "rate": None}, ("7 rows", "", "")),
        ({"done": 7, "total": 7, "unit": "rows", "rate": 1.0}, ("7 of 7 rows", "1/s", "")),
        ({"done": 0, "total": 7, "unit": "rows", "rate": 0.0}, ("0 of 7 rows", "", "")),
    ],
)
def test_the_bar_shows_the_amount_the_rate_and_the_time_left(
    data: dict[str, Any], expected: tuple[str, str, str]
) -> None:
    fields = reporting._fields(data)
    assert (fields["count"], fields["rate"], fields["left"]) == expected


def test_the_bar_is_drawn_below_other_lines_and_erased_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    sink = MemorySink()
    identity = progress.TaskIdentity("cli", "flights-1", "load")
    with (
        Bar("load flights") as bar,
        progress.task(identity, kind="load", dataset="flights", total=10, sinks=[sink, bar]) as task,
    ):
        task.phase("write")
        task.advance(5)
        say("millrace: warning: Kafka is away")
        assert sink.wait_for(3)
        bar._progress.refresh()
    drawn = terminal.getvalue()
    assert "load flights (write)" in drawn
    assert "5 of 10 rows" in drawn
    assert "millrace: warning: Kafka is away" in drawn
    assert drawn.endswith("\x1b[2K")
