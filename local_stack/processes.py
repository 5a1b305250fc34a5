"""Services as processes of the operating system: started detached, found again, stopped with all children.

Each service leads a session of its own. Signals are sent to the whole session, and a stop waits for the end of all its
processes. Airflow gives every task its own process group, so only the session contains all of them.
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
"""Used without /proc. Adjusting the clock shifts every create time a little; that of a reused pid differs by more."""
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


_children: list[subprocess.Popen[bytes]] = []
"""Children of this process, kept to be reaped. Dropping one would warn that it still runs, which is intended."""


@dataclass(frozen=True)
class Started:
    """A process that was started, as its pid file records it."""

    pid: int
    create_time: float
    birth: str = ""
    """The kernel's boot id and its ticks until the process began, which no clock changes. Empty without /proc."""

    @property
    def process(self) -> psutil.Process | None:
        """Return the live process, or None if it ended or its pid now belongs to another process."""
        try:
            process = psutil.Process(self.pid)
            ended = _has_ended(process)
            another = not self._is_this(process)
        except psutil.NoSuchProcess:
            return None
        return None if ended or another else process

    def _is_this(self, process: psutil.Process) -> bool:
        # A create time is derived from the wall clock. If the clock is set (a virtual machine that was resumed, NTP),
        # the create time of every process moves. A running stack would then be taken for other processes and left
        # running.
        if self.birth:
            return _birth(self.pid) == self.birth
        return abs(process.create_time() - self.create_time) <= CREATE_TIME_TOLERANCE_S

    @property
    def frozen(self) -> bool:
        """Return whether the process is stopped (SIGSTOP)."""
        process = self.process
        return process is not None and process.status() == psutil.STATUS_STOPPED

    def members(self) -> list[psutil.Process]:
        """Return every live process of the session, even if its leader has ended.

        The kernel does not reuse a pid while a session has it as its id. So the members found through the session of an
        ended leader belong to this service. If the pid now belongs to another process, the session has no members left.
        """
        with suppress(psutil.NoSuchProcess):
            leader = psutil.Process(self.pid)
            if self.process is None and not _has_ended(leader):
                return []
        processes = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, ProcessLookupError, PermissionError):
                if os.getsid(process.pid) == self.pid and not _has_ended(process):
                    processes.append(process)
        return processes

    def signal(self, number: signal.Signals) -> int:
        """Send a signal to every process of the session; return how many received it."""
        sent = 0
        for process in self.members():
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)
                sent += 1
        return sent

    def freeze(self) -> int:
        """Stop every process of the session (SIGSTOP) and return how many, once all of them are stopped.

        Raises ``StackError`` if a process is not stopped after ``FREEZE_TIMEOUT_S``.
        """
        sent = self.signal(signal.SIGSTOP)
        deadline = time.monotonic() + FREEZE_TIMEOUT_S
        # The kernel delivers the signal when each thread next leaves its system call, and notifies only the parent.
        while any(_status_of(process) != psutil.STATUS_STOPPED for process in self.members()):
            if time.monotonic() > deadline:
                raise StackError(
                    f"processes of session {self.pid} are not stopped {FREEZE_TIMEOUT_S:g} s after SIGSTOP"
                )
            time.sleep(0.01)
        return sent

    def wait(self, timeout_s: float) -> bool:
        """Wait at most ``timeout_s`` until the leader has ended; return whether it has."""
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
        # Fields are counted after the name, which may contain any character in its parentheses: field 22 of
        # proc_pid_stat(5).
        return f"{_BOOT_ID.read_text().strip()} {stat.rpartition(')')[2].split()[19]}"
    except OSError:
        return ""


def _has_ended(process: psutil.Process) -> bool:
    """Return whether only an exit code is left of the process.

    A killed JVM is a zombie at once, but holds its memory and ports until its last thread has ended.
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

    The process inherits no terminal, no standard input, and no open file except its log. Raises ``StackError`` if it
    cannot be started or ends at once.
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
        # A partial pid file would orphan the process, so it is written under another name and then renamed.
        partial = pid_file.with_suffix(".partial")
        partial.write_text(json.dumps(asdict(started)))
        partial.replace(pid_file)
        return started
    raise StackError(f"{command[0]} ended at once")


def read_pid_file(pid_file: Path) -> Started | None:
    """Return the process that this pid file records, alive or not, or None if there is no file.

    Raises ``StackError`` if the file is not a pid file.
    """
    try:
        return Started(**json.loads(pid_file.read_text()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise StackError(
            f"{pid_file}: not a pid file ({error})", hint="delete it if that service is not running"
        ) from error


def stop(started: Started, grace_s: float) -> str:
    """End the whole session: send SIGTERM, wait at most ``grace_s``, and send SIGKILL to the remaining processes.

    Returns ``stopped``, or ``killed`` if SIGKILL was needed. Raises ``StackError`` if a process survives SIGKILL.
    """
    members = started.members()
    if not members:
        return "stopped"
    started.signal(signal.SIGTERM)
    started.signal(signal.SIGCONT)  # a stopped process handles SIGTERM only after it continues
    psutil.wait_procs(members, timeout=grace_s)
    left = started.members()  # looked up again: members may have started children meanwhile
    if not left:
        return "stopped"
    started.signal(signal.SIGKILL)
    psutil.wait_procs(left, timeout=10)
    if survivors := started.members():
        raise StackError(f"processes {', '.join(str(p.pid) for p in survivors)} survive SIGKILL")
    return "killed"
