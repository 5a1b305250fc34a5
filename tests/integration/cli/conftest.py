"""Fixtures that run the command against the real services, in a separate keyspace."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from millrace.cli import main
from millrace.settings import Settings

ROWS = 30_000


@dataclass(frozen=True)
class Result:
    """The exit code and output of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Millrace = Callable[..., Result]


@pytest.fixture(scope="session")
def own_variables(settings: Settings) -> dict[str, str]:
    """Return the environment variables by which a command finds the test's keyspace."""
    return {"MILLRACE_CASSANDRA__KEYSPACE": settings.cassandra.keyspace, "PYTHONWARNINGS": "error"}


@pytest.fixture(scope="session")
def environment(own_variables: dict[str, str]) -> dict[str, str]:
    """Return the environment of a command in a process of its own."""
    return {**os.environ, **own_variables}


@pytest.fixture(scope="session")
def millrace(own_variables: dict[str, str]) -> Millrace:
    """Return a function that runs a command in this process; keyword arguments are environment variables.

    The command has the environment of this process as it is by then, with the variables that a test has set.
    """

    def run(*args: str, **variables: str) -> Result:
        out, err = io.StringIO(), io.StringIO()
        with (
            pytest.MonkeyPatch.context() as patch,
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            for name, value in {**own_variables, **variables}.items():
                patch.setenv(name, value)
            code = main(list(args))
        return Result(code, out.getvalue(), err.getvalue())

    return run


@pytest.fixture
def spawn(environment: dict[str, str]) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Return a function that starts a command in a separate process; processes still running at the end are killed."""
    started: list[subprocess.Popen[str]] = []

    def start(*args: str, **options: Any) -> subprocess.Popen[str]:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        command = [sys.executable, "-m", "millrace", *args]
        process: subprocess.Popen[str] = subprocess.Popen(command, env=environment, **{**pipes, **options})
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait(30)
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def write_table(path: Path, rows: int = ROWS) -> Path:
    """Write rows with numbers, text with nulls, times and a quoted line end; return the path."""
    with path.open("w") as file:
        file.write("n,word,when,share\n")
        for n in range(rows):
            word = "NA" if n % 7 == 0 else f'"w{n % 13},\n{n}"'
            file.write(f"{n},{word},2013-01-{n % 28 + 1:02d} 05:00:00,{n / 8}\n")
    return path


@pytest.fixture(scope="session")
def table_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_table(tmp_path_factory.mktemp("source") / "table.csv")


@pytest.fixture(scope="session")
def loaded(millrace: Millrace, table_csv: Path) -> dict[str, Any]:
    """Load the dataset ``words`` in chunks of 64 KiB; return the load report."""
    done = millrace("load", "words", str(table_csv), "--null-value", "NA", "--chunk-bytes", "65536", "--json")
    assert (done.code, done.err) == (0, "")
    report: dict[str, Any] = done.json
    return report
