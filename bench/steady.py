"""Programs that load or read until they are stopped, and record the time of every chunk and every batch.

``python -m bench.steady KIND JOB.json`` prints a line when its first chunk or batch is done, works until its standard
input ends, and then writes its record to ``job["out"]``. Times are of the clock that all processes of a machine share.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from bench.compare import table_of
from bench.contestant import peak_rss_bytes
from millrace import connect
from millrace.api import Store
from millrace.errors import MillraceError, StackError
from millrace.load import LoadOptions
from millrace.sources import SourceOptions
from millrace.store.chunks.chunk_reader import ChunkReader
from millrace.store.cluster.flights import Write
from millrace.store.cluster.writer import ReplicatedWriter

__all__ = ["Steady", "Story"]

_CHECKOUT = Path(__file__).resolve().parent.parent
_STARTED_TIMEOUT_S = 120.0
_END_TIMEOUT_S = 300.0


@dataclass(slots=True)
class Story:
    """The record of one program.

    ``events`` are (time, stored bytes of a chunk or rows of a batch, acknowledged replicas or 0). ``waits`` are (time,
    seconds), from handing a chunk over to its acknowledgement, or from requesting a chunk to receiving its bytes.
    """

    events: list[tuple[float, int, int]] = field(default_factory=list)
    waits: list[tuple[float, float]] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    peak_rss_bytes: int = 0
    told_at: float = 0.0
    """The time at which it was stopped. Missing events after that are no pause."""

    @property
    def degraded(self) -> int:
        """Return the number of chunks acknowledged by one node only."""
        return self.degraded_since(0.0)

    def degraded_since(self, begin: float) -> int:
        """Return the number of such chunks that were acknowledged after a time."""
        return sum(replicas == 1 for at, _, replicas in self.events if at > begin)

    def longest_pause_s(self, begin: float, end: float) -> float:
        """Return the longest time without an event between two times, the edges included."""
        times = [begin, *(at for at, _, _ in self.events if begin < at < end), end]
        return max(b - a for a, b in itertools.pairwise(times))

    def amount(self, begin: float, end: float) -> int:
        """Return the stored bytes or rows between two times."""
        return sum(size for at, size, _ in self.events if begin <= at < end)

    def waits_between(self, begin: float, end: float) -> list[float]:
        """Return the waits that ended between two times."""
        return [wait for at, wait in self.waits if begin <= at < end]


class Steady:
    """One such program, started; ``stop`` returns its record."""

    def __init__(self, kind: str, name: str, folder: Path, env: Mapping[str, str], **job: Any) -> None:
        self.name = name
        self._out = folder / f"{name}.out.json"
        path = folder / f"{name}.job.json"
        path.write_text(json.dumps({**job, "out": str(self._out), "name": name}))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.steady", kind, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=_CHECKOUT,
            env={**os.environ, **env},
        )

    def wait_started(self) -> None:
        """Wait for its first chunk or batch; raise ``StackError`` if it ends before, or takes too long."""
        timer = threading.Timer(_STARTED_TIMEOUT_S, self._process.kill)
        timer.start()
        line = self._process.stdout.readline() if self._process.stdout else b""
        timer.cancel()
        if not line:
            raise StackError(f"{self.name} never began (exit code {self._process.wait()})", hint="see its message")

    def stop(self) -> Story:
        """Stop it and return its record; raise ``StackError`` if it does not end."""
        told_at = time.monotonic()
        if self._process.stdin is not None and not self._process.stdin.closed:
            self._process.stdin.close()
        try:
            code = self._process.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise StackError(f"{self.name} does not end") from None
        if code or not self._out.exists():
            raise StackError(f"{self.name} ended with exit code {code}", hint="see its message above")
        facts = json.loads(self._out.read_text())
        return Story(**facts, told_at=told_at)

    def kill(self) -> None:
        """Kill it."""
        self._process.kill()
        self._process.wait()


class _Watch:
    """A recorder of the chunks that pass through the writer and the reader of this process."""

    def __init__(self) -> None:
        self.story = Story()
        self._told = False
        submit, fetch = ReplicatedWriter.submit, ChunkReader.fetch

        def watched_submit(writer: ReplicatedWriter, write: Write) -> Any:
            future = submit(writer, write)
            began = time.monotonic()
            if write.description.startswith("chunk "):
                size = write.size_bytes
                future.add_done_callback(lambda done: self._acknowledged(done, began, size))
            return future

        def watched_fetch(reader: ChunkReader, *args: Any, **kwargs: Any) -> Any:
            began = time.monotonic()
            tiles = fetch(reader, *args, **kwargs)
            now = time.monotonic()
            self.story.waits.append((now, now - began))
            return tiles

        ReplicatedWriter.submit = watched_submit  # type: ignore[method-assign,assignment]
        ChunkReader.fetch = watched_fetch  # type: ignore[method-assign,assignment]

    def _acknowledged(self, done: Any, began: float, size: int) -> None:
        if done.exception() is None:
            now = time.monotonic()
            self.story.waits.append((now, now - began))
            self.event(size, done.result().replicas)

    def event(self, size: int, replicas: int) -> None:
        self.story.events.append((time.monotonic(), size, replicas))
        if not self._told:
            self._told = True
            print("started", flush=True)


def _options(job: Mapping[str, Any]) -> LoadOptions:
    return LoadOptions(source=SourceOptions(format="arrow"), chunk_bytes=job["chunk_bytes"])


def _endless(store: Store, job: Mapping[str, Any], watch: _Watch, stop: threading.Event) -> None:
    """Run one load of standard input that continues until it is stopped."""
    read_end, write_end = os.pipe()
    os.dup2(read_end, 0)
    table = table_of(job["source"])

    def feed() -> None:
        with os.fdopen(write_end, "wb") as sink, pa.ipc.new_stream(sink, table.schema) as stream:
            while not stop.is_set():
                for batch in table.to_batches(max_chunksize=20_000):
                    stream.write_batch(batch)
                    if stop.is_set():
                        break

    threading.Thread(target=feed, name="feeder", daemon=True).start()
    _attempt(watch, lambda: store.load(job["name"], "-", _options(job)).version)


def _loads(store: Store, job: Mapping[str, Any], watch: _Watch, stop: threading.Event) -> None:
    """Load the same file again and again, each time as a new version."""
    while not stop.is_set():
        _attempt(watch, lambda: store.load(job["name"], job["source"], _options(job)).version)


def _reads(store: Store, job: Mapping[str, Any], watch: _Watch, stop: threading.Event) -> None:
    """Read a dataset again and again, batch by batch, and compare each with the loaded rows."""
    expected = table_of(job["source"])

    def once() -> str:
        at = 0
        dataset = store.dataset(job["dataset"])
        for batch in dataset.to_batches():
            if not pa.Table.from_batches([batch]).equals(expected.slice(at, batch.num_rows)):
                raise StackError(f"rows {at} and on differ from the loaded rows")
            at += batch.num_rows
            watch.event(batch.num_rows, 0)
            if stop.is_set():
                return "stopped"
        if at != expected.num_rows:
            raise StackError(f"{at} rows, not {expected.num_rows}")
        return "all rows"

    while not stop.is_set():
        _attempt(watch, once)


def _attempt(watch: _Watch, work: Callable[[], str]) -> None:
    try:
        watch.story.done.append(work())
    except MillraceError as error:
        watch.story.failed.append(f"{type(error).__name__}: {error}")
        print(f"failed: {watch.story.failed[-1]}", file=sys.stderr, flush=True)


_KINDS = {"endless": _endless, "loads": _loads, "reads": _reads}


def _main(kind: str, path: str) -> None:
    job = json.loads(Path(path).read_text())
    control = os.dup(0)
    stop = threading.Event()

    def watch_control() -> None:
        while os.read(control, 1):
            pass
        stop.set()

    threading.Thread(target=watch_control, name="control", daemon=True).start()
    watch = _Watch()
    with connect() as store:
        _KINDS[kind](store, job, watch, stop)
    story = watch.story
    facts = {name: getattr(story, name) for name in ("events", "waits", "done", "failed")}
    Path(job["out"]).write_text(json.dumps({**facts, "peak_rss_bytes": peak_rss_bytes()}))


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2])
