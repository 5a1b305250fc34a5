"""A race: contestants in turn, first runs of fresh processes, and rows that explain why figures differ."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from bench.contestant import Contestant, Outcome, contestants
from bench.race import add_conditions, add_runs, best, first_runs, least_cpu_s, race
from bench.report import Report

ECHO = (
    "import sys, json\n"
    "for i, line in enumerate(sys.stdin):\n"
    "    print(json.dumps({'seconds': 2.0 - i, 'rows': 10, 'peak_rss_bytes': 5 + i}), flush=True)\n"
)


def program(name: str) -> Contestant:
    return Contestant(name, [sys.executable, "-c", ECHO])


def outcome(seconds: float, **facts: Any) -> Outcome:
    given = {
        "cpu_s": 1.0,
        "kernel_s": 0.25,
        "page_faults": 1000,
        "nodes_cpu_s": 0.5,
        "others_cpu_s": 0.0,
        "host_s": 0.0,
    }
    return Outcome(seconds, 100, 5_000_000, {**given, **facts})


def test_contestants_alternate_forwards_and_backwards_with_the_callback_after_each_run() -> None:
    order: list[str] = []
    a, b = program("a"), program("b")
    ticks = iter(range(100))
    with contestants(a, b):
        outcomes_by_name = race(
            [a, b],
            2,
            between=lambda: order.append("between"),
            meter=lambda: float(next(ticks)),
            say=lambda line: order.append(line.split(":")[0].strip()),
        )
    assert order == ["1/2 a", "between", "1/2 b", "between", "2/2 b", "between", "2/2 a", "between"]
    assert [outcome.seconds for outcome in outcomes_by_name["a"]] == [2.0, 1.0]
    assert all(outcome.facts["nodes_cpu_s"] == 1 for outcomes in outcomes_by_name.values() for outcome in outcomes)


def test_warm_ups_are_done_by_all_and_are_not_counted() -> None:
    a, b = program("a"), program("b")
    with contestants(a, b):
        outcomes_by_name = race([a, b], 1, warm_ups=1)
    assert {name: [outcome.seconds for outcome in outcomes] for name, outcomes in outcomes_by_name.items()} == {
        "a": [1.0],
        "b": [1.0],
    }


def test_first_runs_are_made_by_processes_that_have_not_worked_before() -> None:
    contestant = program("a")
    with contestants(contestant):
        contestant.ask()
        first = first_runs([contestant], 2)
        assert [outcome.seconds for outcome in first["a"]] == [2.0, 2.0]
        assert contestant.ask().seconds == 1.0, "the contestant itself goes on where it was"


def test_the_processor_time_of_other_programs_is_reported() -> None:
    busy = "import sys, json, time\nfor _ in sys.stdin:\n    end = time.process_time() + 0.5\n"
    busy += "    while time.process_time() < end: pass\n"
    busy += "    print(json.dumps({'seconds': 0.5, 'rows': 1, 'peak_rss_bytes': 1, 'cpu_s': 0.0}), flush=True)"
    contestant = Contestant("hides its time", [sys.executable, "-c", busy])
    with contestants(contestant):
        outcomes_by_name = race([contestant], 1)
    assert outcomes_by_name["hides its time"][0].facts["others_cpu_s"] >= 0.4


def test_the_best_run_is_reported_with_the_peak_memory_of_all_runs() -> None:
    chosen = best([Outcome(2.0, 10, 500), Outcome(1.0, 10, 400)])
    assert (chosen.rows_per_s, chosen.peak_rss_bytes) == (10, 500)
    runs = [Outcome(1, 1, 1, {"cpu_s": 2.0, "nodes_cpu_s": 1.0}), Outcome(1, 1, 1, {"cpu_s": 2.5, "nodes_cpu_s": 0.2})]
    assert least_cpu_s(runs) == pytest.approx(2.7)


@pytest.mark.parametrize(("unit", "figures"), [("s", (1.0, 2.0, 4.0, 8.0)), ("rows/s", (100.0, 50.0, 25.0, 12.5))])
def test_the_best_the_median_the_worst_and_the_first_run_are_in_the_report(
    unit: str, figures: tuple[float, ...]
) -> None:
    report = Report("read")
    add_runs(report, {"a": [outcome(2.0), outcome(1.0), outcome(4.0)]}, {"a": [outcome(8.0)]}, unit=unit)
    rows = {row.what: (row.value, row.unit) for row in report.rows}
    assert rows == {
        "a": (figures[0], unit),
        "a: median of 3 runs": (figures[1], unit),
        "a: worst run": (figures[2], unit),
        "a: first run of a fresh process, median of 1": (figures[3], unit),
        "a: least processor time, nodes included": (1.5, "s of a core"),
        "a: of it in the kernel, median": (0.25, "s of a core"),
        "a: page faults of a run, median": (1000, "faults"),
    }


def test_a_program_that_reports_no_page_faults_has_no_row_of_them() -> None:
    report = Report("load")
    add_runs(report, {"a": [Outcome(1.0, 100, 5, {"cpu_s": 1.0})]})
    assert not any("faults" in row.what or "kernel" in row.what for row in report.rows)


def test_the_notes_give_the_load_of_the_machine_the_order_and_each_configuration() -> None:
    report = Report("read")
    outcomes_by_name = {
        "a": [outcome(2.0, others_cpu_s=1.0, configuration="allocator mimalloc, gzip")],
        "b": [outcome(1.0, host_s=0.2)],
    }
    add_conditions(report, outcomes_by_name, warm_ups=10)
    load, order, configured = report.notes
    assert "other programs took 0.25 cores on average and 0.50 at most, the host 0.10 and 0.20" in load
    assert "10 uncounted runs" in order
    assert configured == "a: allocator mimalloc, gzip."


def test_a_contestant_that_ran_long_enough_runs_no_more() -> None:
    a = program("a")
    with contestants(a):
        assert [outcome.seconds for outcome in race([a], 5, enough_s=2.5)["a"]] == [2.0, 1.0]
