"""One program in a race: a process that does its work once per input line and reports how long it took.

A contestant reads ``run`` (or ``profile``, or another method of its work) from standard input and answers with one line
of JSON that has at least ``seconds``, ``rows`` and ``peak_rss_bytes``. It starts, imports and connects before its first
line: only the work itself is measured, and its memory is its own.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from millrace.errors import StackError

__all__ = ["Contestant", "Outcome", "Work", "contestants", "peak_rss_bytes"]

_CHECKOUT = Path(__file__).resolve().parent.parent
RUN_TIMEOUT_S = 1800.0
_END_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run: seconds of the work alone, the rows it moved, and the other facts that the program reported."""

    seconds: float
    rows: int
    peak_rss_bytes: int
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def rows_per_s(self) -> float:
        """Return the rows per second."""
        return self.rows / self.seconds


class Work(Protocol):
    """The work of a contestant in Python; ``__init__`` connects and is not measured."""

    def run(self) -> dict[str, Any]:
        """Do the work once; return at least ``rows``, and ``seconds`` if not all of the call counts."""

    def profile(self) -> dict[str, Any]:
        """Do the work once under timers; return at least ``rows``."""

    def close(self) -> None:
        """Release the resources that ``__init__`` acquired."""


class Contestant:
    """The process of a contestant. ``ask`` runs its work once; ``close`` ends it."""

    def __init__(self, name: str, command: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        self.name = name
        self._command, self._env = list(command), dict(env or {})
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=_CHECKOUT,
            env={**os.environ, **self._env},
        )

    @classmethod
    def of(cls, name: str, work: str, env: Mapping[str, str] | None = None, **arguments: Any) -> Contestant:
        """Start a contestant that runs ``work`` (``module:Class``), made with the arguments given."""
        return cls(name, [sys.executable, "-m", "bench.contestant", work, json.dumps(arguments)], env)

    @classmethod
    def in_environment(cls, python: Path, name: str, work: str, **arguments: Any) -> Contestant:
        """Start a contestant with the interpreter of another environment.

        There ``work`` may import nothing of the project that needs one of its packages.
        """
        search = os.pathsep.join(map(str, (_CHECKOUT, _CHECKOUT / "pipeline")))
        command = [str(python), "-m", "bench.contestant", work, json.dumps(arguments)]
        return cls(name, command, {"PYTHONPATH": search})

    def fresh(self) -> Contestant:
        """Start another process of the same program, which has not worked yet."""
        return Contestant(self.name, self._command, self._env)

    def ask(self, what: str = "run", timeout_s: float = RUN_TIMEOUT_S) -> Outcome:
        """Let it work once; raise ``StackError`` if it ends, or does not answer within ``timeout_s``."""
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise StackError(f"{self.name} has no pipes")
        try:
            stdin.write(what.encode() + b"\n")
            stdin.flush()
        except BrokenPipeError:
            raise self._ended() from None
        ready, _, _ = select.select([stdout], [], [], timeout_s)
        line = stdout.readline() if ready else b""
        if not ready:
            raise StackError(f"{self.name} did not finish within {timeout_s:g} s")
        if not line:
            raise self._ended()
        facts = json.loads(line)
        return Outcome(facts.pop("seconds"), facts.pop("rows"), facts.pop("peak_rss_bytes"), facts)

    @property
    def ended(self) -> bool:
        """Return whether the process has ended."""
        return self._process.poll() is not None

    def kill(self) -> None:
        """Kill the process."""
        self._process.kill()

    def close(self) -> None:
        """Close its input, which ends it; kill it if it does not end within 30 s."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _ended(self) -> StackError:
        code = self._process.wait(_END_TIMEOUT_S)
        return StackError(f"{self.name} ended with exit code {code} before it was done", hint="see its message above")


@contextmanager
def contestants(*started: Contestant) -> Iterator[None]:
    """End all of them at the end of the block, also after an exception."""
    with ExitStack() as stack:
        for contestant in started:
            stack.callback(contestant.close)
        yield


def peak_rss_bytes(pid: int | str = "self") -> int:
    """Return the peak memory of a process, or 0 if it is gone.

    ``getrusage`` is not used: its maximum begins with the memory that the parent had when it started the process.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    _, _, after = status.partition("VmHWM:")
    return int(after.split()[0]) * 1024 if after else 0


def _serve(spec: str, arguments: dict[str, Any]) -> None:
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is no answer
    module, _, name = spec.partition(":")
    work: Work = getattr(importlib.import_module(module), name)(**arguments)
    try:
        for line in sys.stdin:
            facts = _measured(getattr(work, line.strip()))
            facts["configuration"] = ", ".join([*_allocator(), *getattr(work, "configuration", ())])
            print(json.dumps(facts), file=answers, flush=True)
    finally:
        work.close()


def _measured(call: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return the facts of a call, with its seconds and its use of processor and memory unless it measured them itself.

    The processor time of processes that it started and that have ended is included. It may have measured
    ``workers_peak_bytes`` of its processes, and ``workers_cpu_s`` of those that another one started.
    """
    began, before = time.perf_counter(), _usage()
    facts = call()
    facts.setdefault("seconds", time.perf_counter() - began)
    kernel_s, user_s, faults = (now - then for now, then in zip(_usage(), before, strict=True))
    facts.setdefault("peak_rss_bytes", peak_rss_bytes() + facts.get("workers_peak_bytes", 0))
    cpu_s = user_s + kernel_s + facts.get("workers_cpu_s", 0.0)
    return {"kernel_s": kernel_s, "cpu_s": cpu_s, "page_faults": faults, **facts}


def _usage() -> tuple[float, float, int]:
    """Return the seconds in the kernel and outside it, and the page faults, of this process and its ended children."""
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_stime for u in both), sum(u.ru_utime for u in both), sum(u.ru_minflt for u in both)


def _allocator() -> list[str]:
    """Return pyarrow's allocator and number of threads in this process, or nothing if it has no pyarrow."""
    pyarrow = sys.modules.get("pyarrow")
    if pyarrow is None:
        return []
    return [f"allocator {pyarrow.default_memory_pool().backend_name}", f"{pyarrow.cpu_count()} threads of Arrow"]


if __name__ == "__main__":
    _serve(sys.argv[1], json.loads(sys.argv[2]))
