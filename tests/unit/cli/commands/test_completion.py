"""``millrace completion``: the script for each shell, and the completions that it requests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from millrace.cli.app import run


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_a_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert f"_MILLRACE_COMPLETE={shell}_complete" in script
    if path := shutil.which(shell):
        assert subprocess.run([path, "-n"], input=script, text=True, check=False).returncode == 0


def test_an_unsupported_shell_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["completion", "cmd"]) == 2
    assert "'bash', 'zsh', 'fish'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "number", "completions"),
    [("millrace und", "1", ["plain,undelete"]), ("millrace load --dec", "2", ["plain,--decimal"])],
)
def test_commands_and_options_are_completed(words: str, number: str, completions: list[str]) -> None:
    environment = {**os.environ, "_MILLRACE_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": number}
    done = subprocess.run(
        [sys.executable, "-m", "millrace"], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.split() == completions
    assert done.stderr == ""
