"""python killed_loader.py NAME SOURCE RUN CALL: loads, and kills itself at its CALL-th call of the store.

A call is a write given to the replicated writer, or a question to the session (whatever reads the catalogue and what
is there). Each is told on standard output as it begins, a line each. ``after`` behind the number kills once the call's
answer is there instead of before it is made: what was acknowledged is followed by death. CALL 0 loads to the end.
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
from millrace.store.session import CassandraSession
from millrace.store.writer import ReplicatedWriter, Write

ANSWER_S = 60


class Calls:
    """Counts the calls of all threads, and knows at which of them the process ends."""

    def __init__(self, when: str) -> None:
        self._wanted, self._after = int(when.removesuffix("after")), when.endswith("after")
        self._made = 0
        self._lock = threading.Lock()
        self.inside = threading.local()
        """One question may be asked by way of another one; it is one call."""

    def begin(self, what: str) -> bool:
        """A call is about to be made; whether its answer is the last thing to happen."""
        with self._lock:
            self._made += 1
            os.write(1, f"{what}\n".encode())  # past every buffer: nobody will empty one
            last = self._made == self._wanted
            if last and not self._after:
                die()
        return last


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def watched_write(calls: Calls, submit: Callable[..., Any]) -> Callable[..., Any]:
    def watched(writer: ReplicatedWriter, write: Write) -> Any:
        last = calls.begin(f"write {write.what}")
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
