from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from typing import Any

import numpy as np
import pytest

from millrace import progress
from millrace.errors import LoadInterruptedError
from millrace.progress.event import ATTEMPT_OVER
from millrace.progress.sender import EVENT_INTERVAL_S

IDENTITY = progress.TaskIdentity("cli", "flights-3fa9c1", "load")


def started(**options: Any) -> tuple[progress.ProgressTask, progress.MemorySink]:
    sink = progress.MemorySink()
    options = {"kind": "load", "dataset": "flights", **options}
    return progress.task(IDENTITY, sinks=[sink], **options), sink


def end_of(raised: BaseException | None, **options: Any) -> dict[str, Any]:
    task, sink = started(**options)
    if raised is None:
        with task:
            pass
    else:
        with pytest.raises(type(raised)), task:
            raise raised
    over = [e for e in sink.events if e["data"]["state"] in ATTEMPT_OVER]
    assert over == sink.events[-1:]
    return dict(over[0]["data"])


def test_success_ends_in_succeeded_with_everything_counted() -> None:
    task, sink = started(total=10)
    with task:
        task.advance(4)
        task.advance(6)
        task.count(chunks=2, bytes_raw=100, bytes_stored=30, retries=1, under_replicated=1)
        task.count(chunks=1)
        task.metrics(loss=0.25, step=7)
        task.message("written")
    first, last = sink.events[0]["data"], sink.events[-1]["data"]
    assert (first["state"], first["done"], first["total"]) == ("running", 0, 10)
    assert (last["state"], last["done"], last["total"], last["error"]) == ("succeeded", 10, 10, None)
    assert last["counters"] == {
        "chunks": 3,
        "bytes_raw": 100,
        "bytes_stored": 30,
        "retries": 1,
        "under_replicated": 1,
    }
    assert last["metrics"] == {"loss": 0.25, "step": 7}
    assert last["message"] == "written"


def test_an_exception_ends_in_failed_and_passes_through() -> None:
    data = end_of(ValueError("x" * 2000))
    assert data["state"] == "failed"
    assert data["error"]["type"] == "ValueError"
    assert len(data["error"]["message"]) == 500


def test_an_exception_ends_in_retrying_if_another_attempt_follows() -> None:
    assert end_of(ValueError("x"), will_retry=True)["state"] == "retrying"


@pytest.mark.parametrize(
    ("raised", "state"),
    [
        (None, "succeeded"),
        (SystemExit(0), "succeeded"),
        (SystemExit(None), "succeeded"),
        (SystemExit(3), "failed"),
        (SystemExit("no space"), "failed"),
        (SystemExit(130), "cancelled"),
        (KeyboardInterrupt(), "cancelled"),
        (LoadInterruptedError("stopped"), "cancelled"),
        (type("AirflowSkipException", (Exception,), {})("nothing new"), "skipped"),
    ],
)
def test_every_way_to_leave_a_task_has_its_final_state(raised: BaseException | None, state: str) -> None:
    assert end_of(raised)["state"] == state


def test_skipping_ends_in_skipped_with_its_reason() -> None:
    task, sink = started()
    with task:
        task.skip("already loaded")
    assert (sink.events[-1]["data"]["state"], sink.events[-1]["data"]["message"]) == ("skipped", "already loaded")


def test_nothing_is_sent_after_the_end() -> None:
    task, sink = started()
    with task:
        pass
    count = len(sink.events)
    task.advance(5)
    task.phase("late")
    task.curve("loss", 1, 1.0)
    assert len(sink.events) == count


def test_done_never_shrinks_and_unusual_numbers_are_accepted() -> None:
    task, sink = started()
    with task:
        task.advance(5)
        task.advance(-3)
        task.advance(float("inf"))
        task.advance_to(2)
        task.advance(np.int64(2))  # type: ignore[arg-type]  # any kind of number will do
        task.set_total(np.int32(9))  # type: ignore[arg-type]
        task.metrics(loss=np.float32(0.5), broken=float("nan"), word="high")  # type: ignore[arg-type]
    data = sink.events[-1]["data"]
    assert (data["done"], data["total"]) == (7, 9)
    assert data["metrics"] == {"loss": 0.5, "broken": None, "word": None}
    progress.encode_event(sink.events[-1])


def test_phases_are_sent_at_once_and_sequences_count_up() -> None:
    task, sink = started()
    with task:
        for name in ("read", "write", "write", "verify"):
            task.phase(name)
        assert [e["data"]["phase"] for e in sink.events] == ["", "read", "write", "verify"]
    assert [e["sequence"] for e in sink.events] == [f"{n:012d}" for n in range(1, 6)]


def test_a_million_updates_from_four_threads_are_two_events_a_second_and_none_is_lost() -> None:
    task, sink = started()
    with task:
        began = time.monotonic()

        def advance() -> None:
            for _ in range(250_000):
                task.advance(1)

        threads = [threading.Thread(target=advance) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.monotonic() - began
    assert sink.events[-1]["data"]["done"] == 1_000_000
    assert len(sink.events) <= 2 + seconds / EVENT_INTERVAL_S + 1
    done = [e["data"]["done"] for e in sink.events]
    assert done == sorted(done)


def test_a_suppressed_advance_costs_under_two_microseconds() -> None:
    task, _ = started()
    best = float("inf")
    with task:
        for _ in range(5):
            began = time.thread_time()
            for _ in range(20_000):
                task.advance(1)
            best = min(best, (time.thread_time() - began) / 20_000)
    assert best < 2e-6


def test_the_last_update_before_a_pause_is_sent_without_another_call() -> None:
    task, sink = started()
    with task:
        task.advance(7)
        assert sink.wait_for(2, timeout_s=10)
        assert sink.events[-1]["data"]["done"] == 7
        assert sink.events[-1]["data"]["state"] == "running"


def test_a_task_without_updates_sends_heartbeats() -> None:
    sink = progress.MemorySink()
    options: dict[str, Any] = {"dataset": None, "total": None, "unit": "rows", "will_retry": False}
    with progress.ProgressTask(IDENTITY, kind="load", sinks=[sink], heartbeat_s=0.05, **options):
        assert sink.wait_for(4, timeout_s=10)
    assert {e["data"]["done"] for e in sink.events} == {0}


def test_no_thread_outlives_the_task() -> None:
    before = set(threading.enumerate())
    task, _ = started()
    with task:
        assert set(threading.enumerate()) - before
    assert set(threading.enumerate()) <= before


def test_curves_are_sent_as_separate_events_with_their_own_sequence() -> None:
    task, sink = started(kind="train")
    with task:
        for step in range(1000):
            task.curve("loss", step, 1 / (step + 1))
            task.curve("accuracy", step, float("nan"))
    curves = [e for e in sink.events if e["source"] == IDENTITY.source + "/curves"]
    assert [e["sequence"] for e in curves] == [f"{n:012d}" for n in range(1, len(curves) + 1)]
    assert len(curves) <= 2
    series = curves[-1]["data"]["series"]
    assert set(series) == {"loss", "accuracy"}
    assert series["loss"][0] == [0, 1.0]
    assert series["loss"][-1] == [999, 0.001]
    assert len(series["loss"]) <= 256
    assert sink.events[-1]["data"]["state"] == "succeeded"


def test_a_sink_that_raises_affects_neither_the_work_nor_the_other_sinks() -> None:
    class Broken:
        def emit(self, event: object) -> None:
            raise OSError("gone")

        def flush(self, timeout_s: float = 5.0) -> bool:
            raise OSError("gone")

        def close(self, timeout_s: float = 5.0) -> None:
            raise OSError("gone")

    sink = progress.MemorySink()
    with progress.task(IDENTITY, kind="load", sinks=[Broken(), sink]) as task:
        task.advance(1)
    assert sink.events[-1]["data"]["state"] == "succeeded"


def test_a_null_task_accepts_every_call() -> None:
    with progress.null_task() as task:
        task.advance(1)
        task.advance_to(3)
        task.set_total(3)
        task.phase("x")
        task.count(chunks=1)
        task.metrics(loss=1.0)
        task.curve("loss", 1, 1.0)
        task.message("x")
        task.skip("x")


def test_a_forked_child_sends_nothing_and_the_parent_goes_on() -> None:
    task, sink = started()
    with task:
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            task.advance(5)
            task.phase("child")
            os.write(write, str(len(sink.events)).encode())
            os._exit(0)
        os.waitpid(child, 0)
        assert os.read(read, 10) == b"1"
        task.phase("parent")
    os.close(read)
    os.close(write)
    assert [e["data"]["phase"] for e in sink.events] == ["", "parent", "parent"]


PROGRAM = """
import os, signal, sys, time
from millrace import progress

class Lines:
    def emit(self, event):
        data = event["data"]
        print(data["state"], (data["error"] or {}).get("type"), flush=True)
    def close(self, timeout_s=5.0): pass

BEFORE
with progress.task(progress.TaskIdentity("cli", "r", "t"), kind="load", sinks=[Lines()]) as task:
    INSIDE
AFTER
"""


def run(inside: str, before: str = "", after: str = "") -> tuple[list[str], int]:
    code = PROGRAM.replace("BEFORE", textwrap.dedent(before)).replace("AFTER", textwrap.dedent(after))
    code = code.replace("INSIDE", textwrap.indent(textwrap.dedent(inside), "    ").strip())
    # Python warns since 3.12 of a fork in a process with threads. One of these programs does that on purpose.
    python = [sys.executable, "-W", "ignore:This process:DeprecationWarning"]
    done = subprocess.run([*python, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == "" or "Traceback" in done.stderr or done.returncode == 3, done.stderr
    return done.stdout.splitlines(), done.returncode


def test_sigterm_sends_the_last_event_and_then_ends_the_process() -> None:
    lines, code = run("os.kill(os.getpid(), signal.SIGTERM); time.sleep(30)")
    assert lines == ["running None", "cancelled SIGTERM"]
    assert code == -signal.SIGTERM


def test_sigterm_calls_the_handler_that_was_installed_before() -> None:
    lines, code = run(
        "os.kill(os.getpid(), signal.SIGTERM); print('goes on', flush=True)",
        before="signal.signal(signal.SIGTERM, lambda *_: print('on_kill', flush=True))",
        after="os.kill(os.getpid(), signal.SIGTERM)",
    )
    assert lines == ["running None", "on_kill", "cancelled SIGTERM", "goes on", "on_kill"]
    assert code == 0


def test_a_handler_that_exits_ends_the_task_with_its_exit_code() -> None:
    lines, code = run(
        "os.kill(os.getpid(), signal.SIGTERM); time.sleep(30)",
        before="signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))",
    )
    assert lines == ["running None", "failed SystemExit"]
    assert code == 3


def test_a_process_that_ignores_sigterm_goes_on_ignoring_it() -> None:
    lines, code = run(
        "os.kill(os.getpid(), signal.SIGTERM); print('goes on', flush=True)",
        before="signal.signal(signal.SIGTERM, signal.SIG_IGN)",
    )
    assert lines == ["running None", "goes on", "succeeded None"]
    assert code == 0


def test_the_former_handler_is_restored_at_the_end() -> None:
    lines, _ = run("pass", after="print(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)")
    assert lines[-1] == "True"


def test_a_forked_child_that_gets_sigterm_sends_no_event() -> None:
    lines, code = run(
        """
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(write, b"!")  # Python forgets signals that come before its fork is complete
            time.sleep(30)
            os._exit(1)
        os.read(read, 1)
        os.kill(child, signal.SIGTERM)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM
        """
    )
    assert lines == ["running None", "succeeded None"]
    assert code == 0


def test_two_tasks_at_once_both_send_their_last_event() -> None:
    lines, code = run(
        """
        with progress.task(progress.TaskIdentity("cli", "r", "u"), kind="load", sinks=[Lines()]):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(30)
        """
    )
    assert lines == ["running None", "running None", "cancelled SIGTERM", "cancelled SIGTERM"]
    assert code == -signal.SIGTERM


def test_a_result_is_in_the_later_events() -> None:
    sink = progress.MemorySink()
    with progress.task(IDENTITY, kind="publish", dataset="flights", sinks=[sink]) as task:
        task.result(version="1-3fa9c1", rows=3, columns=[["a", "int64"]])
    assert "result" not in sink.events[0]["data"]
    last = sink.events[-1]
    assert last["data"]["result"] == {"version": "1-3fa9c1", "rows": 3, "columns": [["a", "int64"]]}
    progress.validate_event(last)


@pytest.mark.parametrize("value", [object(), float("nan"), "x" * 20_000, {1, 2}], ids=["object", "nan", "long", "set"])
def test_a_result_that_no_event_can_hold_is_left_out_without_an_error(value: object) -> None:
    sink = progress.MemorySink()
    with progress.task(IDENTITY, kind="publish", dataset="flights", sinks=[sink]) as task:
        task.result(value=value)
    assert [event["data"].get("result") for event in sink.events] == [None, None]


def test_limited_events_keep_their_interval_with_phases_and_curves_but_the_ends_are_sent_at_once() -> None:
    task, sink = started(kind="train")
    task.limit_events(0.3)
    began = time.monotonic()
    with task:
        assert len(sink.events) == 1
        while time.monotonic() - began < 1.4:
            task.phase(f"epoch {time.monotonic()}")
            task.curve("loss", time.monotonic(), 1.0)
            time.sleep(0.001)
        sent = sink.events[:]
    times_s = [progress.unix_s(event["time"]) or 0 for event in sent]
    assert all(later - earlier > 0.29 for earlier, later in itertools.pairwise(times_s))
    assert 3 <= len(sent) <= 5
    assert any("series" in event["data"] for event in sent)
    assert sink.events[-1]["data"]["state"] == "succeeded"
