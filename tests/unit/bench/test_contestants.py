"""Contestants: processes that answer line by line, raced in turn, never left behind."""

from __future__ import annotations

import sys
import time
from typing import Any

import pytest

from bench.contestant import Contestant, Outcome, best, contestants, least_cpu_s, peak_rss_bytes, race
from pipeline.errors import StackError

ECHO = (
    "import sys, json\n"
    "for i, line in enumerate(sys.stdin):\n"
    "    print(json.dumps({'seconds': 2.0 - i, 'rows': 10, 'peak_rss_bytes': 5 + i, 'asked': line.strip()}),"
    " flush=True)\n"
)


class Sum:
    """Adds numbers; what a contestant made of a class looks like."""

    def __init__(self, upto: int) -> None:
        self._upto = upto

    def run(self) -> dict[str, Any]:
        return {"rows": self._upto, "sum": sum(range(self._upto))}

    def profile(self) -> dict[str, Any]:
        return {**self.run(), "profiled": True}

    def close(self) -> None:
        print("closed", file=sys.stderr)


def program(name: str, code: str) -> Contestant:
    return Contestant(name, [sys.executable, "-c", code])


def test_a_class_becomes_a_process_that_reports_time_and_memory() -> None:
    one = Contestant.of("sum", f"{__name__ if '.' in __name__ else 'tests.unit.bench.test_contestants'}:Sum", upto=1000)
    with contestants(one):
        outcome = one.ask()
        assert (outcome.rows, outcome.facts["sum"]) == (1000, 499_500)
        assert 0 < outcome.seconds < 60
        assert outcome.facts["cpu_s"] >= 0
        assert outcome.peak_rss_bytes > 1_000_000
        assert one.ask("profile").facts["profiled"]


def test_they_run_in_turn_and_what_lies_between_runs_each_time() -> None:
    order: list[str] = []
    a, b = program("a", ECHO), program("b", ECHO)
    ticks = iter(range(100))
    with contestants(a, b):
        found = race(
            [a, b],
            2,
            between=lambda: order.append("between"),
            meter=lambda: float(next(ticks)),
            say=lambda line: order.append(line.split(":")[0].strip()),
        )
    assert order == ["1/2 a", "between", "1/2 b", "between", "2/2 a", "between", "2/2 b", "between"]
    assert [outcome.seconds for outcome in found["a"]] == [2.0, 1.0]
    assert all(outcome.facts["nodes_cpu_s"] == 1 for outcomes in found.values() for outcome in outcomes)


def test_warm_ups_are_done_by_all_and_count_for_nobody() -> None:
    a, b = program("a", ECHO), program("b", ECHO)
    with contestants(a, b):
        found = race([a, b], 1, warm_ups=1)
    assert {name: [outcome.seconds for outcome in outcomes] for name, outcomes in found.items()} == {
        "a": [1.0],
        "b": [1.0],
    }


def test_the_best_run_counts_with_the_most_memory_of_all() -> None:
    chosen = best([Outcome(2.0, 10, 500), Outcome(1.0, 10, 400)])
    assert (chosen.rows_per_s, chosen.peak_rss_bytes) == (10, 500)
    runs = [Outcome(1, 1, 1, {"cpu_s": 2.0, "nodes_cpu_s": 1.0}), Outcome(1, 1, 1, {"cpu_s": 2.5, "nodes_cpu_s": 0.2})]
    assert least_cpu_s(runs) == pytest.approx(2.7)


def test_one_that_ends_early_is_named_with_its_exit_code() -> None:
    one = program("quitter", "import sys; sys.stdin.readline(); sys.exit(7)")
    with contestants(one), pytest.raises(StackError, match="quitter ended with exit code 7"):
        one.ask()


def test_one_that_does_not_answer_is_named_and_ended() -> None:
    one = program("sleeper", "import sys, time\nfor _ in sys.stdin: time.sleep(600)")
    began = time.monotonic()
    with contestants(one):
        with pytest.raises(StackError, match=r"sleeper did not finish within 0\.5 s"):
            one.ask(timeout_s=0.5)
        one.kill()
    assert one.ended
    assert time.monotonic() - began < 60


def test_leaving_the_block_ends_every_process_even_after_an_error() -> None:
    one, two = program("a", ECHO), program("b", ECHO)
    with pytest.raises(ZeroDivisionError), contestants(one, two):
        raise ZeroDivisionError
    assert one.ended
    assert two.ended


def test_the_peak_of_a_process_that_is_gone_is_zero() -> None:
    assert peak_rss_bytes() > 1_000_000
    assert peak_rss_bytes(2**22 + 1) == 0
