"""``./run test``: select and run the tests, and list the skipped ones with their reasons."""

from __future__ import annotations

import argparse
import faulthandler
import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
KINDS = ("unit", "integration", "faults", "dags", "browser")
_MEASURED = ("unit", "integration")
_MAY_BE_SKIPPED = {"docker", "torch"}
_SIDE_BY_SIDE = ("--numprocesses=auto", "--maxprocesses=4", "--dist=worksteal")


class Skipped:
    """A pytest plugin that lists skipped tests; in CI one is a failure, unless it needs Docker or torch."""

    def __init__(self, strict: bool) -> None:
        self.strict = strict
        self.skips: list[tuple[str, str, bool]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Record a skipped test."""
        if report.skipped and not hasattr(report, "wasxfail"):
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            may_be_skipped = not _MAY_BE_SKIPPED.isdisjoint(report.keywords)
            self.skips.append((report.nodeid, reason.removeprefix("Skipped: "), may_be_skipped))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Record a module that skipped itself."""
        if report.skipped:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            self.skips.append((report.nodeid, reason.removeprefix("Skipped: "), False))

    @property
    def refused(self) -> list[str]:
        """Return the tests that were skipped although they must run here."""
        return [name for name, _, may_be_skipped in self.skips if self.strict and not may_be_skipped]

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail a run in CI that skipped tests that must run there."""
        if self.refused and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the skipped tests above the last line of pytest."""
        if self.skips:
            terminalreporter.section("not run")
            for name, reason, _ in self.skips:
                terminalreporter.line(f"{name}: {reason}")
        if self.refused:
            terminalreporter.line(
                f"FAILED: CI is set, and {len(self.refused)} of these need neither Docker nor torch", red=True
            )


def arguments(argv: list[str]) -> argparse.Namespace:
    """Return the parsed command line; exits with 2 on wrong usage."""
    parser = argparse.ArgumentParser(
        prog="./run test",
        description="Run the tests; those against real services start their own, on ports of their own. Unit tests run "
        "on up to four cores; in one process where pytest gets arguments of yours.",
        epilog="Example: ./run test unit --seed 7. What follows -- goes to pytest: ./run test unit -- -k zip",
    )
    parser.add_argument("what", nargs="*", metavar="WHAT", help=f"{', '.join(KINDS)} (all by default)")
    parser.add_argument("--full", action="store_true", help="soaks and sweeps too")
    parser.add_argument("--seed", type=int, help="of everything random in the tests")
    parser.add_argument(
        "--coverage", action="store_true", help="measure branch coverage, of unit and integration tests by default"
    )
    own, passed_on = _split(argv)
    parsed = parser.parse_args(own)
    unknown = [what for what in parsed.what if what not in KINDS]
    if unknown:
        parser.error(f"there are no {', '.join(unknown)} tests; WHAT is one of {', '.join(KINDS)}")
    parsed.pytest = passed_on
    return parsed


def _split(argv: list[str]) -> tuple[list[str], list[str]]:
    at = argv.index("--") if "--" in argv else len(argv)
    return argv[:at], argv[at + 1 :]


def main(argv: list[str]) -> int:
    """Run the selected tests; return pytest's exit code, or 1 if ``CI`` is set and tests were skipped that must run."""
    asked = arguments(argv)
    faulthandler.enable()  # pytest does so for its own time only; a crash while the interpreter ends needs it as well
    if asked.full:
        os.environ["MILLRACE_TEST_FULL"] = "1"
    options = ["-p", "no:cacheprovider", "--durations=25"]
    if not asked.full:
        options += ["-m", "not full"]
    if asked.seed is not None:
        os.environ["MILLRACE_TEST_SEED"] = str(asked.seed)
        options.append(f"--hypothesis-seed={asked.seed}")
    # A soak takes longer than the limit of a single test; each of its waits has its own deadline.
    if asked.full:
        options.append("--timeout=3600")
    kinds = [kind for kind in KINDS if kind in (asked.what or (_MEASURED if asked.coverage else KINDS))]
    if asked.coverage:
        options += ["--cov", "--cov-append", "--cov-report="]
        (ROOT / ".coverage").unlink(missing_ok=True)
    code = _run_kinds(options, asked.pytest, kinds)
    if asked.coverage:
        subprocess.run([sys.executable, "-m", "coverage", "report"], cwd=ROOT, check=False)
    return code


def _run_kinds(options: list[str], passed_on: list[str], kinds: list[str]) -> int:
    if passed_on:
        return _run([*options, *passed_on], kinds)
    # Unit tests share nothing and run in parallel; the others share services and measure times.
    codes = [_run([*options, *_SIDE_BY_SIDE], ["unit"])] if "unit" in kinds else []
    if others := [kind for kind in kinds if kind != "unit"]:
        codes += [_run(options, others)] if pytest.ExitCode.INTERRUPTED not in codes else []
    return max(codes)


def _run(options: list[str], kinds: list[str]) -> int:
    skipped = Skipped(strict=bool(os.environ.get("CI")))
    return int(pytest.main([*options, *(str(TESTS / kind) for kind in kinds)], plugins=[skipped]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
