from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest

from millrace.cli import main
from millrace.cli.app import COMMANDS, cli
from millrace.cli.invocation import Invocation, json_option, pass_invocation, strict_option
from millrace.errors import (
    DatasetNotFoundError,
    InvalidNameError,
    LoadInterruptedError,
    StoreUnavailableError,
    UsageError,
)

Body = Callable[[Invocation], Any]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[[Body], None]:
    """Return a function that makes ``millrace try`` run the given function."""

    def install(body: Body) -> None:
        @click.command()
        @click.option("--number", type=int)
        @strict_option
        @json_option
        @pass_invocation
        def made(invocation: Invocation, /, number: int | None) -> Any:
            return body(invocation)

        module = ModuleType("millrace_test_command")
        module.command = made  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "millrace_test_command", module)
        monkeypatch.setitem(COMMANDS, "try", "millrace_test_command")

    return install


def raising(error: BaseException) -> Body:
    def body(_invocation: Invocation) -> None:
        raise error

    return body


# --- exit codes and lines


def test_a_successful_command_exits_with_0_and_prints_nothing(
    command: Callable[[Body], None], capsys: pytest.CaptureFixture[str]
) -> None:
    command(lambda _invocation: None)
    assert main(["try"]) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("no", hint="yes"), 2),
        (InvalidNameError("no", hint="yes"), 2),
        (DatasetNotFoundError("no", hint="yes"), 1),
        (StoreUnavailableError("no", hint="yes"), 1),
    ],
)
def test_each_millrace_error_is_one_line_on_stderr_and_a_json_document(
    command: Callable[[Body], None], capsys: pytest.CaptureFixture[str], error: Exception, code: int
) -> None:
    command(raising(error))
    assert main(["try"]) == code
    assert capsys.readouterr() == ("", "millrace: no: yes\n")
    assert main(["try", "--json"]) == code
    out, err = capsys.readouterr()
    assert err == "millrace: no: yes\n"
    retriable = isinstance(error, StoreUnavailableError)
    assert json.loads(out) == {
        "error": type(error).__name__, "message": "no", "hint": "yes", "retriable": retriable
    }  # fmt: skip


def test_the_context_of_an_error_is_in_the_json_document(
    command: Callable[[Body], None], capsys: pytest.CaptureFixture[str]
) -> None:
    command(raising(DatasetNotFoundError("no", dataset="flights", expected=b"\1", actual=(1, 2), error="not this")))
    assert main(["try", "--json"]) == 1
    facts = json.loads(capsys.readouterr().out)
    assert (facts["dataset"], facts["expected"], facts["actual"]) == ("flights", "01", [1, 2])
    assert facts["error"] == "DatasetNotFoundError"


def test_a_multiline_message_with_escapes_is_printed_as_one_line(
    command: Callable[[Body], None], capsys: pytest.CaptureFixture[str]
) -> None:
    command(raising(UsageError("first\nsecond \x1b[31mred\r\x07")))
    assert main(["try"]) == 2
    assert capsys.readouterr().err == "millrace: first second \\x1b[31mred \\x07\n"


def test_an_unexpected_exception_is_one_line_and_a_traceback_only_with_debug(
    command: Callable[[Body], None], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command(raising(ZeroDivisionError("oh")))
    assert main(["try"]) == 1
    assert capsys.readouterr().err == (
        "millrace: ZeroDivisionError: oh (this should not happen: MILLRACE_DEBUG=1 shows where)\n"
    )
    for turn_on in (["--debug"], []):
        if not turn_on:
            monkeypatch.setenv("MILLRACE_DEBUG", "1")
        assert main([*turn_on, "try"]) == 1
        err = capsys.readouterr().err
        assert err.startswith("Traceback")
        assert err.endswith("millrace: ZeroDivisionError: oh\n")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["try", "--nonsense"], "--nonsense"),
        (["try", "--number", "many"], "'many' is not a valid integer"),
        (["try", "extra"], "extra"),
        (["lod"], "No such command 'lod'"),
        (["--nonsense"], "--nonsense"),
    ],
)
def test_wrong_usage_is_one_line_and_exits_with_2(
    command: Callable[[Body], None], capsys: pytest.CaptureFixture[str], args: list[str], message: str
) -> None:
    command(lambda _invocation: None)
    assert main(args) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.startswith("millrace: ")
    assert err.count("\n") == 1
    assert " --help" in err
    assert main([*args, "--json"]) == 2
    out, err = capsys.readouterr()
    assert err.count("\n") == 1
    assert json.loads(out)["error"] == "UsageError"


def test_without_a_command_the_help_is_printed_and_the_exit_code_is_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "Usage: millrace" in capsys.readouterr().err


def test_the_version_option_prints_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("millrace ")


def test_a_command_may_choose_its_exit_code(command: Callable[[Body], None]) -> None:
    command(lambda _invocation: click.get_current_context().exit(1))
    assert main(["try"]) == 1


def test_a_degraded_result_exits_with_0_and_a_warning_and_with_3_if_strict(
    command: Callable[[Body], None], capsys: pytest.CaptureFixture[str]
) -> None:
    def body(invocation: Invocation) -> None:
        invocation.note_degraded("one node is down")
        invocation.note_degraded("one node is down")
        invocation.answer({"rows": 1}, lambda: print("a table"))

    command(body)
    assert main(["try"]) == 0
    assert capsys.readouterr() == ("a table\n", "millrace: warning: one node is down\n")
    assert main(["try", "--strict", "--json"]) == 3
    assert json.loads(capsys.readouterr().out) == {"rows": 1, "degraded": True}


def test_strict_exits_with_0_if_nothing_is_degraded(
    command: Callable[[Body], None], capsys: pytest.CaptureFixture[str]
) -> None:
    command(lambda invocation: invocation.answer({}, lambda: None))
    assert main(["try", "--strict", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"degraded": False}


@pytest.mark.parametrize("name", ["millrace.progress", "millrace.cache"])
def test_log_warnings_are_printed_and_info_messages_are_not(
    command: Callable[[Body], None], capsys: pytest.CaptureFixture[str], name: str
) -> None:
    def body(_invocation: Invocation) -> None:
        logging.getLogger(name).warning("%s is\naway", "Kafka")
        logging.getLogger(name).info("all is well")

    command(body)
    assert main(["try"]) == 0
    assert capsys.readouterr() == ("", "millrace: warning: Kafka is away\n")


def test_the_repeated_command_line_is_quoted_for_the_shell() -> None:
    invocation = Invocation(("load", "a", "my file.csv", "--null-value", ""), interrupts=None)  # type: ignore[arg-type]
    assert invocation.command_with("--run-id", "a-1") == "millrace load a 'my file.csv' --null-value '' --run-id a-1"


# --- help


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_has_help_with_an_example_and_a_json_option(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([name, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"millrace {name}" in text.split("Example")[1]
    assert "--json" in text
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert command.short_help


def test_help_and_wrong_usage_import_no_heavy_module() -> None:
    script = """
import contextlib, io, sys
from millrace.cli import main
with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
    assert main(["--help"]) == 0
    assert main(["load", "--help"]) == 0
    assert main(["load", "--nonsense"]) == 2
heavy = {"pyarrow", "cassandra", "redis", "confluent_kafka", "rich", "sqlglot", "pydantic", "httpx", "numpy", "airflow"}
print(sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_python_dash_m_millrace_runs_the_cli() -> None:
    done = subprocess.run([sys.executable, "-m", "millrace", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("millrace ")


# --- pipes


PIPE = """
import sys, click
from types import ModuleType
import millrace.cli.app as app
from millrace.cli.output import print_table
@click.command()
def command():
    for _ in range(10_000):
        if sys.argv[1] == "table":
            print_table(["n"], [[n] for n in range(100)])
        else:
            print("x" * 1000)
sys.modules["t"] = ModuleType("t"); sys.modules["t"].command = command
app.COMMANDS["try"] = "t"
sys.exit(app.run(["try"]))
"""


@pytest.mark.parametrize("what", ["table", "lines"])
def test_a_closed_pipe_ends_the_command_without_an_error(what: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PIPE, what], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=Path.cwd(),
        env={**os.environ, "PYTHONWARNINGS": "error"},
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(60) == 0


def test_an_interrupted_load_exits_with_130(command: Callable[[Body], None], monkeypatch: pytest.MonkeyPatch) -> None:
    class LeftError(Exception):
        pass

    def leave(code: int) -> None:
        raise LeftError(code)

    monkeypatch.setattr(os, "_exit", leave)
    for error in (LoadInterruptedError("stopped"), KeyboardInterrupt()):
        command(raising(error))
        with pytest.raises(LeftError, match="130"):
            main(["try"])
