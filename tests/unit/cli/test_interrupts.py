"""Handling of real signals, in child processes because the signals end the process."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

HEAD = """
import ctypes, json, os, sys, time
from millrace.cli.interrupts import Interrupted, Interrupts
def stuck_natively():
    libc, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(64)
    libc.pthread_mutex_lock(mutex)
    libc.pthread_mutex_lock(mutex)  # no signal interrupts this
def ready():
    print("ready", flush=True)
"""
UNWINDS = """
with Interrupts() as interrupts:
    interrupts.message = "stopped; go on with: millrace load"
    try:
        ready()
        time.sleep(60)
    except KeyboardInterrupt as error:
        print("unwound", type(error).__name__, flush=True)
        interrupts.leave()
"""
STUCK = """
with Interrupts() as interrupts:
    interrupts.cleanups = [lambda: 1 / 0, lambda: print("removed", flush=True)]
    interrupts.message = "stopped; go on with: millrace load"
    try:
        ready()
        stuck_natively()
    finally:
        stuck_natively()
"""
SLOW = """
with Interrupts() as interrupts:
    interrupts.message = "stopped; go on with: millrace load"
    try:
        ready()
        time.sleep(60)
    finally:
        print("unwinding", flush=True)
        stuck_natively()
"""
HELD = """
with Interrupts() as interrupts:
    try:
        with interrupts.deferred():
            ready()
            sys.stdin.readline()
            print("published", interrupts.stopped, flush=True)
        print("never", flush=True)
    except KeyboardInterrupt:
        print("then stopped", flush=True)
        interrupts.leave()
"""
JSON = """
with Interrupts() as interrupts:
    interrupts.json, interrupts.facts, interrupts.message = True, {"error": "E", "run": "r"}, "stopped"
    try:
        print("ready", file=sys.stderr, flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        interrupts.leave()
"""


class Running:
    """A child process with a script that has printed ``ready``."""

    def __init__(self, script: str, *, ready_on: str = "stdout") -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HEAD + script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        stream = self.process.stdout if ready_on == "stdout" else self.process.stderr
        assert stream is not None
        assert stream.readline() == "ready\n"

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        self.process.send_signal(number)

    def end(self, stdin_text: str = "") -> tuple[int, str, str]:
        out, err = self.process.communicate(stdin_text or None, timeout=30)
        return self.process.returncode, out, err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_unwinds_and_prints_how_to_resume(number: signal.Signals) -> None:
    running = Running(UNWINDS)
    running.stop(number)
    assert running.end() == (130, "unwound Interrupted\n", "millrace: stopped; go on with: millrace load\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_process_stuck_in_native_code_is_ended(number: signal.Signals) -> None:
    running = Running(STUCK)
    running.stop(number)
    assert running.end() == (130, "removed\n", "millrace: stopped; go on with: millrace load\n")


def test_unwinding_that_takes_too_long_is_ended() -> None:
    running = Running(SLOW)
    running.stop()
    assert running.end() == (130, "unwinding\n", "millrace: stopped; go on with: millrace load\n")


def test_a_second_signal_ends_the_process_at_once() -> None:
    running = Running(SLOW.replace("Interrupts()", "Interrupts(unwind_s=600)"))
    running.stop()
    assert running.process.stdout is not None
    assert running.process.stdout.readline() == "unwinding\n"
    running.stop()
    assert running.end()[0] == 130  # within the 30 s of end(), far below unwind_s


def test_a_signal_during_a_held_block_takes_effect_after_it() -> None:
    running = Running(HELD)
    running.stop()
    assert running.end("go\n") == (130, "published True\nthen stopped\n", "millrace: interrupted\n")


def test_with_json_a_signal_prints_a_json_document() -> None:
    running = Running(JSON, ready_on="stderr")
    running.stop()
    code, out, err = running.end()
    assert (code, err) == (130, "millrace: stopped\n")
    assert json.loads(out) == {"error": "E", "run": "r", "message": "stopped"}


def test_the_former_handlers_are_restored_at_the_end() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    wakeup = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(wakeup)
    from millrace.cli.interrupts import Interrupts

    with Interrupts() as interrupts:
        assert signal.getsignal(signal.SIGINT) not in before
        with interrupts.deferred():
            pass
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    now = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(now)
    assert now == wakeup
