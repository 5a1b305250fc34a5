"""A service as a process of the operating system: started detached, found again, stopped whole.

Each service leads a session of its own. A session is what is signalled and what is waited for: Airflow gives
every task a process group of its own, and only the session still holds them together.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from millrace.errors import StackError

FREEZE_TIMEOUT_S = 10.0
CREATE_TIME_TOLERANCE_S = 2.0
"""Where there is no /proc: a clock that is adjusted shifts every create time a little; a reused pid is further off."""
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


_children: list[subprocess.Popen[bytes]] = []
"""Ours to reap while we live; dropping one would warn that it still runs, which is the point."""


@dataclass(frozen=True)
class Started:
    """A process that was started: what its pid file says."""

    pid: int
    create_time: float
    birth: str = ""
    """What no clock changes: the kernel's boot and its ticks until the process began; empty where there is no /proc."""

    @property
    def process(self) -> psutil.Process | None:
        """The live process, or None when it ended or its pid now belongs to another."""
        try:
            process = psutil.Process(self.pid)
            ended = _has_ended(process)
            another = not self._is_this(process)
        except psutil.NoSuchProcess:
            return None
        return None if ended or another else process

    def _is_this(self, process: psutil.Process) -> bool:
        # A create time is counted from the wall clock: one that is set anew (a virtual machine that was resumed, NTP)
        # moves every process's, and a stack that runs would be taken for somebody else's and left running.
        if self.birth:
            return _birth(self.pid) == self.birth
        return abs(process.create_time() - self.create_time) <= CREATE_TIME_TOLERANCE_S

    @property
    def frozen(self) -> bool:
        """Whether the process is stopped (SIGSTOP)."""
        process = self.process
        return process is not None and process.status() == psutil.STATUS_STOPPED

    def members(self) -> list[psutil.Process]:
        """Return every live process of the session, also when its leader is gone.

        The kernel does not hand a pid out again while a session is named by it, so members found by the session
        of a vanished leader are still ours; a leader that is somebody else's has no member of ours.
        """
        with suppress(psutil.NoSuchProcess):
            leader = psutil.Process(self.pid)
            if self.process is None and not _has_ended(leader):
                return []
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, ProcessLookupError, PermissionError):
                if os.getsid(process.pid) == self.pid and not _has_ended(process):
                    found.append(process)
        return found

    def signal(self, number: signal.Signals) -> int:
        """Send a signal to every process of the session; return how many got it."""
        sent = 0
        for process in self.members():
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)
                sent += 1
        return sent

    def freeze(self) -> int:
        """Stop every process of the session (SIGSTOP) and return, once all of them stand still, how many do."""
        sent = self.signal(signal.SIGSTOP)
        deadline = time.monotonic() + FREEZE_TIMEOUT_S
        # The kernel delivers the signal when each thread next leaves its system call; nobody but a parent is told.
        while any(_status_of(process) != psutil.STATUS_STOPPED for process in self.members()):
            if time.monotonic() > deadline:
                raise StackError(f"the session of pid {self.pid} does not stand still after {FREEZE_TIMEOUT_S:g} s")
            time.sleep(0.01)
        return sent

    def wait(self, timeout_s: float) -> bool:
        """Wait until the leader ended, at most ``timeout_s``; return whether it did."""
        process = self.process
        if process is not None:
            try:
                process.wait(timeout_s)
            except psutil.TimeoutExpired:
                return False
        return True


def _birth(pid: int) -> str:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        # After the name, which may hold anything in its parentheses: field 22 of proc_pid_stat(5).
        return f"{_BOOT_ID.read_text().strip()} {stat.rpartition(')')[2].split()[19]}"
    except OSError:
        return ""


def _has_ended(process: psutil.Process) -> bool:
    """Whether only an exit code is left of it.

    A killed JVM is a zombie at once, and holds its memory and ports until the last of its threads is gone too.
    """
    return process.status() == psutil.STATUS_ZOMBIE and process.num_threads() <= 1


def _status_of(process: psutil.Process) -> str:
    try:
        return str(process.status())
    except psutil.NoSuchProcess:
        return psutil.STATUS_STOPPED


def spawn(
    command: Sequence[str], *, env: Mapping[str, str], folder: Path, log: Path, pid_file: Path, mode: str = "ab"
) -> Started:
    """Start ``command`` detached in a session of its own and write its pid file; output goes to ``log``.

    Nothing of ours stays with it: no terminal, no standard input, no open file but its log.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    pid_file.parent.mkdir(parents=True, exist_ok=True)
    with log.open(mode) as output:
        try:
            child = subprocess.Popen(
                list(command), env=dict(env), cwd=folder, stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise StackError(f"{command[0]} cannot be started: {error}") from error
    _children.append(child)
    with suppress(psutil.NoSuchProcess):
        started = Started(child.pid, psutil.Process(child.pid).create_time(), _birth(child.pid))
        # Half a pid file would orphan the process: written beside, then put in place.
        partial = pid_file.with_suffix(".partial")
        partial.write_text(json.dumps(asdict(started)))
        partial.replace(pid_file)
        return started
    raise StackError(f"{command[0]} ended at once")


def read_pid_file(pid_file: Path) -> Started | None:
    """Return what was started under this pid file, alive or not, or None where nothing was."""
    try:
        return Started(**json.loads(pid_file.read_text()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise StackError(
            f"{pid_file}: not a pid file ({error})", hint="delete it if that service is not running"
        ) from error


def stop(started: Started, grace_s: float) -> str:
    """End the whole session: SIGTERM, at most ``grace_s`` to obey, SIGKILL for what is left.

    Returns ``stopped``, or ``killed`` where it came to that; raises StackError if a process survives even that.
    """
    members = started.members()
    if not members:
        return "stopped"
    started.signal(signal.SIGTERM)
    started.signal(signal.SIGCONT)  # a frozen process obeys only once it runs again
    psutil.wait_procs(members, timeout=grace_s)
    left = started.members()  # looked up again: members may have had children meanwhile
    if not left:
        return "stopped"
    started.signal(signal.SIGKILL)
    psutil.wait_procs(left, timeout=10)
    if survivors := started.members():
        raise StackError(f"processes {', '.join(str(p.pid) for p in survivors)} survive SIGKILL")
    return "killed"
