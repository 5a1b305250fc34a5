"""Contestants: processes that answer line by line, run in turn, and are always ended."""

from __future__ import annotations

import sys
import time
from typing import Any

import pytest

from bench.contestant import Contestant, contestants, peak_rss_bytes
from millrace.errors import StackError

ECHO = (
    "import sys, json\n"
    "for i, line in enumerate(sys.stdin):\n"
    "    print(json.dumps({'seconds': 2.0 - i, 'rows': 10, 'peak_rss_bytes': 5 + i, 'asked': line.strip()}),"
    " flush=True)\n"
)


class Sum:
    """An example of a class that a contestant runs: it adds numbers."""

    configuration = ("adds in Python",)

    def __init__(self, upto: int) -> None:
        import pyarrow  # noqa: F401  # its allocator is part of the configuration

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
    contestant = Contestant.of(
        "sum", f"{__name__ if '.' in __name__ else 'tests.unit.bench.test_contestants'}:Sum", upto=1000
    )
    with contestants(contestant):
        outcome = contestant.ask()
        assert (outcome.rows, outcome.facts["sum"]) == (1000, 499_500)
        assert 0 < outcome.seconds < 60
        assert outcome.facts["cpu_s"] >= 0
        assert 0 <= outcome.facts["kernel_s"] <= outcome.facts["cpu_s"]
        assert outcome.facts["page_faults"] >= 0
        assert outcome.facts["configuration"].startswith("allocator ")
        assert outcome.facts["configuration"].endswith("adds in Python")
        assert outcome.peak_rss_bytes > 1_000_000
        assert contestant.ask("profile").facts["profiled"]


def test_a_contestant_that_ends_early_is_named_with_its_exit_code() -> None:
    contestant = program("quitter", "import sys; sys.stdin.readline(); sys.exit(7)")
    with contestants(contestant), pytest.raises(StackError, match="quitter ended with exit code 7"):
        contestant.ask()


def test_a_contestant_that_does_not_answer_is_named_and_ended() -> None:
    contestant = program("sleeper", "import sys, time\nfor _ in sys.stdin: time.sleep(600)")
    began = time.monotonic()
    with contestants(contestant):
        with pytest.raises(StackError, match=r"sleeper did not finish within 0\.5 s"):
            contestant.ask(timeout_s=0.5)
        contestant.kill()
    assert contestant.ended
    assert time.monotonic() - began < 60


def test_leaving_the_block_ends_every_process_even_after_an_error() -> None:
    first, second = program("a", ECHO), program("b", ECHO)
    with pytest.raises(ZeroDivisionError), contestants(first, second):
        raise ZeroDivisionError
    assert first.ended
    assert second.ended


def test_the_peak_memory_of_an_ended_process_is_zero() -> None:
    assert peak_rss_bytes() > 1_000_000
    assert peak_rss_bytes(2**22 + 1) == 0
