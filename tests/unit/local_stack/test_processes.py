from __future__ import annotations

import json
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from local_stack.processes import Started, read_pid_file, spawn, stop
from millrace.errors import StackError

FOREVER = "signal.pause()"
IGNORES_TERM = "signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); signal.pause()"
HAS_A_CHILD_IN_A_GROUP_OF_ITS_OWN = """
child = os.fork()
if child == 0:
    os.setpgid(0, 0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print('ready', flush=True)
signal.pause()
"""


def start(tmp_path: Path, code: str, ended_after: list[Started]) -> Started:
    command = [sys.executable, "-c", f"import os, signal\n{code}"]
    log, pid_file = tmp_path / "log", tmp_path / "run" / "it.json"
    started = spawn(command, env=os.environ, folder=tmp_path, log=log, pid_file=pid_file)
    ended_after.append(started)
    return started


def wait_for_lines(path: Path, count: int, started: Started) -> None:
    for _ in range(200):
        if path.read_text().count("ready") >= count:
            return
        assert not started.wait(0.05), path.read_text()
    raise AssertionError(f"{path} never had {count} lines")


def test_a_service_leads_a_session_of_its_own_and_is_found_by_its_pid_file(
    tmp_path: Path, ended_after: list[Started]
) -> None:
    started = start(tmp_path, FOREVER, ended_after)
    assert os.getsid(started.pid) == started.pid != os.getsid(0)
    assert read_pid_file(tmp_path / "run" / "it.json") == started
    assert stop(started, grace_s=10) == "stopped"
    assert started.process is None
    assert started.members() == []


def test_a_process_that_ignores_sigterm_is_killed(tmp_path: Path, ended_after: list[Started]) -> None:
    started = start(tmp_path, IGNORES_TERM, ended_after)
    wait_for_lines(tmp_path / "log", 1, started)
    assert stop(started, grace_s=0.2) == "killed"
    assert started.members() == []


def test_a_child_in_a_process_group_of_its_own_dies_with_its_session(
    tmp_path: Path, ended_after: list[Started]
) -> None:
    started = start(tmp_path, HAS_A_CHILD_IN_A_GROUP_OF_ITS_OWN, ended_after)
    wait_for_lines(tmp_path / "log", 2, started)
    assert len(started.members()) == 2
    assert stop(started, grace_s=0.2) == "killed"
    assert started.members() == []


def test_an_orphan_is_found_by_its_session_when_the_leader_was_killed(
    tmp_path: Path, ended_after: list[Started]
) -> None:
    started = start(tmp_path, HAS_A_CHILD_IN_A_GROUP_OF_ITS_OWN, ended_after)
    wait_for_lines(tmp_path / "log", 2, started)
    os.kill(started.pid, signal.SIGKILL)
    assert started.wait(10)
    (orphan,) = started.members()
    assert orphan.pid != started.pid
    stop(started, grace_s=0)
    assert not psutil.pid_exists(orphan.pid) or orphan.status() == psutil.STATUS_ZOMBIE


def test_a_process_whose_first_thread_ended_is_running_while_another_holds_its_port(
    tmp_path: Path, ended_after: list[Started]
) -> None:
    # A killed JVM is in this state until the kernel has ended its last thread. Ending only the first thread keeps it.
    code = (
        "import ctypes, threading\n"
        "threading.Thread(target=signal.pause).start()\n"
        "print('ready', flush=True)\n"
        "ctypes.CDLL(None).syscall(60 if os.uname().machine == 'x86_64' else 93, 0)\n"
    )
    started = start(tmp_path, code, ended_after)
    for _ in range(1000):
        if psutil.Process(started.pid).status() == psutil.STATUS_ZOMBIE:
            break
        time.sleep(0.01)
    assert psutil.Process(started.pid).status() == psutil.STATUS_ZOMBIE
    assert started.process is not None
    assert not started.wait(0.05)
    assert len(started.members()) == 1
    stop(started, grace_s=0)
    assert started.process is None


def test_a_frozen_service_is_distinguished_from_a_running_one_and_can_be_stopped(
    tmp_path: Path, ended_after: list[Started]
) -> None:
    started = start(tmp_path, FOREVER, ended_after)
    assert not started.frozen
    assert started.freeze() == 1
    assert started.frozen
    assert stop(started, grace_s=10) == "stopped"


@pytest.mark.parametrize("birth", ["", "another-boot 1"], ids=["told by the clock", "told by the kernel"])
def test_a_reused_pid_is_not_ours_and_is_not_signalled(tmp_path: Path, ended_after: list[Started], birth: str) -> None:
    started = start(tmp_path, FOREVER, ended_after)
    of_yesterday = replace(started, create_time=started.create_time - 86_400, birth=birth)
    assert of_yesterday.process is None
    assert of_yesterday.members() == []
    assert stop(of_yesterday, grace_s=0) == "stopped"
    assert started.process is not None


def test_waiting_ends_when_the_process_does(tmp_path: Path, ended_after: list[Started]) -> None:
    started = start(tmp_path, "pass", ended_after)
    assert started.wait(timeout_s=30)
    assert started.process is None


def test_a_missing_program_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="no-such-program cannot be started"):
        spawn(["no-such-program"], env={}, folder=tmp_path, log=tmp_path / "log", pid_file=tmp_path / "pid")


def test_no_pid_file_means_never_started(tmp_path: Path) -> None:
    assert read_pid_file(tmp_path / "none.json") is None


@pytest.mark.parametrize("content", ["", "17", json.dumps({"pid": 1}), "{"])
def test_a_damaged_pid_file_is_refused_with_its_path(tmp_path: Path, content: str) -> None:
    (tmp_path / "it.json").write_text(content)
    with pytest.raises(StackError, match=r"it\.json: not a pid file"):
        read_pid_file(tmp_path / "it.json")
