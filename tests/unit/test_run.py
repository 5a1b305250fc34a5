"""``./run test`` itself: the selection of tests, and skipped tests, which are listed and fail a run in CI."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from local_stack.settings import CHECKOUT
from tests.run import arguments

SUITE = """
import pytest

def test_passes():
    pass

@pytest.mark.docker
def test_in_a_container():
    pytest.skip("no Docker engine answers")
"""
SKIPS = """
def test_with_a_browser():
    pytest.skip("no browser is installed")
"""
RUNNER = """
import sys, pytest
from tests.run import Skipped
markers = ["-o", "markers=docker\\ntorch"]
options = ["-p", "no:cacheprovider", *markers, "--rootdir", sys.argv[1], "-c", "/dev/null", sys.argv[1]]
sys.exit(pytest.main([*options, *sys.argv[3:]], plugins=[Skipped(strict=sys.argv[2] == "strict")]))
"""


def run_suite(folder: Path, text: str, how: str, *options: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_it.py").write_text(text)
    return subprocess.run(
        [sys.executable, "-c", RUNNER, str(folder), how, *options],
        cwd=CHECKOUT,
        # The other plugins take five times as long to import as pytest itself.
        env={**os.environ, "PYTHONPATH": str(CHECKOUT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_a_skipped_test_is_listed_with_its_reason(tmp_path: Path) -> None:
    done = run_suite(tmp_path, SUITE + SKIPS, "relaxed")
    assert done.returncode == 0
    assert "test_it.py::test_in_a_container: no Docker engine answers" in done.stdout
    assert "test_it.py::test_with_a_browser: no browser is installed" in done.stdout
    assert "1 passed, 2 skipped" in done.stdout.splitlines()[-1]


SIDE_BY_SIDE = pytest.mark.parametrize(
    "options", [(), ("-p", "xdist", "--numprocesses=2")], ids=["alone", "side by side"]
)


@SIDE_BY_SIDE
def test_in_ci_a_skipped_test_is_a_failure(tmp_path: Path, options: tuple[str, ...]) -> None:
    done = run_suite(tmp_path, SUITE + SKIPS, "strict", *options)
    assert done.returncode == 1
    assert "1 of these need neither Docker nor torch" in done.stdout


@pytest.mark.parametrize("marker", ["docker", "torch"])
def test_in_ci_a_test_that_needs_docker_or_torch_may_be_skipped(tmp_path: Path, marker: str) -> None:
    assert run_suite(tmp_path, SUITE.replace("mark.docker", f"mark.{marker}"), "strict").returncode == 0


@SIDE_BY_SIDE
def test_in_ci_a_module_that_skips_itself_is_a_failure(tmp_path: Path, options: tuple[str, ...]) -> None:
    module = "import pytest\npytest.importorskip('no_such_module')\n"
    done = run_suite(tmp_path, module + SUITE, "strict", *options)
    assert done.returncode != 0
    assert "no_such_module" in done.stdout


def test_in_ci_a_failure_stays_a_failure(tmp_path: Path) -> None:
    assert run_suite(tmp_path, SUITE + "\ndef test_fails():\n    assert 0\n", "strict").returncode == 1


def test_an_unknown_kind_of_test_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        arguments(["unitt"])
    assert "WHAT is one of unit, integration, faults, dags, browser" in capsys.readouterr().err


def test_arguments_after_two_dashes_are_passed_to_pytest() -> None:
    asked = arguments(["unit", "dags", "--seed", "7", "--", "-k", "zip"])
    assert (asked.what, asked.seed, asked.full, asked.pytest) == (["unit", "dags"], 7, False, ["-k", "zip"])
