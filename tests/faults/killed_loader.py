"""python killed_loader.py NAME SOURCE RUN CALL: load, and kill this process at its CALL-th call of the store.

A call is a write given to the replicated writer, or a query of the session (reads of the catalogue and of stored
chunks). Each is printed on standard output as it begins, one line each. A suffix ``after`` kills the process once the
call's response has arrived instead of before it is made, so that an acknowledged call is the last one. CALL 0 loads to
the end.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

from millrace.api import Store
from millrace.load import LoadOptions
from millrace.settings import load_settings
from millrace.store.cluster.session import CassandraSession
from millrace.store.cluster.writer import ReplicatedWriter, Write

ANSWER_S = 60


class Calls:
    """A counter of the calls of all threads, with the call at which the process ends."""

    def __init__(self, when: str) -> None:
        self._wanted, self._after = int(when.removesuffix("after")), when.endswith("after")
        self._made = 0
        self._lock = threading.Lock()
        self.inside = threading.local()
        """A query may be nested in another one; both count as one call."""

    def begin(self, what: str) -> bool:
        """Count a call that is about to be made; return whether the process ends after its response."""
        with self._lock:
            self._made += 1
            os.write(1, f"{what}\n".encode())  # unbuffered: SIGKILL leaves buffers unflushed
            last = self._made == self._wanted
            if last and not self._after:
                die()
        return last


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def watched_write(calls: Calls, submit: Callable[..., Any]) -> Callable[..., Any]:
    def watched(writer: ReplicatedWriter, write: Write) -> Any:
        last = calls.begin(f"write {write.description}")
        future = submit(writer, write)
        if last:
            future.result(ANSWER_S)
            die()
        return future

    return watched


def watched_question(calls: Calls, ask: Callable[..., Any]) -> Callable[..., Any]:
    def watched(session: CassandraSession, statement: Any, *args: Any, **options: Any) -> Any:
        if getattr(calls.inside, "question", False):
            return ask(session, statement, *args, **options)
        last = calls.begin(f"read {text_of(statement)}")
        calls.inside.question = True
        try:
            return ask(session, statement, *args, **options)
        finally:
            calls.inside.question = False
            if last:
                die()

    return watched


def text_of(statement: Any) -> str:
    prepared = getattr(statement, "prepared_statement", statement)
    return " ".join(str(getattr(prepared, "query_string", "a batch")).split())


def main() -> None:
    name, source, run, when = sys.argv[1:]
    calls = Calls(when)
    ReplicatedWriter.submit = watched_write(calls, ReplicatedWriter.submit)  # type: ignore[method-assign]
    for each in ("execute", "execute_at", "execute_watched"):
        setattr(CassandraSession, each, watched_question(calls, getattr(CassandraSession, each)))
    settings = load_settings(redis={"url": ""}, kafka={"bootstrap_servers": ""}, load={"bucket_bytes": 5_000_000})
    with Store.connect(settings) as store:
        store.load(name, source, LoadOptions(chunk_bytes=1_000_000), run=run)


main()
