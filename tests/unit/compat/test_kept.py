"""A forked child ends although it has a producer of its parent, and kept objects outlive the interpreter."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import weakref

from millrace.compat.kept import keep_until_process_ends

PROGRAM = """
import os, sys, time
from confluent_kafka import Producer
from millrace.compat.kept import keep_until_process_ends

producer = Producer({"bootstrap.servers": "127.0.0.1:1", "log_level": 0})
child = os.fork()
if child == 0:
    keep_until_process_ends(producer)
    del producer
    sys.exit(7)
deadline = time.monotonic() + 10
while not (ended := os.waitpid(child, os.WNOHANG))[0] and time.monotonic() < deadline:
    time.sleep(0.02)
if not ended[0]:
    os.kill(child, 9)
    ended = os.waitpid(child, 0)
print(os.waitstatus_to_exitcode(ended[1]))
"""


def test_a_forked_child_ends_although_its_parent_has_a_producer() -> None:
    # Python warns since 3.12 of a fork in a process with threads, which is the situation under test.
    python = [sys.executable, "-W", "ignore:This process:DeprecationWarning"]
    done = subprocess.run([*python, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["7"]


def test_a_kept_object_is_not_freed_by_the_garbage_collector() -> None:
    class Producer:
        pass

    producer = Producer()
    alive = weakref.ref(producer)
    keep_until_process_ends(producer)
    del producer
    gc.collect()
    assert alive() is not None


AT_EXIT = """
import datetime, sys
from pydantic import TypeAdapter
from millrace.compat.kept import keep_until_process_ends

keep_until_process_ends(datetime.datetime_CAPI)
sys.kept = [TypeAdapter(datetime.datetime).validate_python("2026-01-01T00:00:00Z")]
sys.kept.append(sys.kept)
"""


def test_a_process_ends_well_although_a_time_of_pydantic_outlives_its_modules() -> None:
    environment = {**os.environ, "PYTHONMALLOC": "debug"}  # without the kept object it ends by SIGSEGV
    done = subprocess.run(
        [sys.executable, "-c", AT_EXIT], env=environment, capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
