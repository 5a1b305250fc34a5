"""Where the time goes: timers put around the product's functions from outside, and the processor time of threads.

Times are exclusive: what a timed function spends in another timed one counts for the other. ``cpu_s`` is what the
calling thread used, ``wall_s`` how long it was there, so waiting is their difference. Nothing of this is in the
product, and nothing of it runs while a contestant races.
"""

from __future__ import annotations

import functools
import importlib
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.contestant import Outcome
from bench.report import Report

__all__ = ["LOAD_PLACES", "READ_PLACES", "Place", "Profile", "add_profile", "resolve", "timed"]

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Place:
    """A function by module and qualified name, and the line of the profile that its time belongs to."""

    label: str
    module: str
    name: str


_COMMON = (
    Place("compress", "pipeline.chunks.codecs", "Gzip.compress"),
    Place("decompress", "pipeline.chunks.codecs", "Gzip.decompress"),
    Place("checksum", "xxhash", "xxh3_128_digest"),
)
LOAD_PLACES = (
    *_COMMON,
    Place("plan (types, sample)", "pipeline.api", "Store.plan"),
    Place("publish", "pipeline.api", "Store.publish"),
    Place("read the source", "pipeline.sources.streams", "RawStream.read"),
    Place("cut records", "pipeline.sources.blocks", "scan_quotes"),
    Place("cut records", "pipeline.sources.blocks", "last_record_end"),
    Place("cut records", "pipeline.sources.blocks", "count_lines"),
    Place("parse", "pipeline.sources.csv_format", "CsvParser.parse"),
    Place("group rows", "pipeline.chunks.grouper", "cumulative_row_bytes"),
    Place("group rows", "pipeline.chunks.grouper", "RowGrouper._take"),
    Place("encode to Arrow IPC", "pipeline.chunks.tile", "_to_stream"),
    Place("encode, rest", "pipeline.load.split", "encode_row_group"),
    Place("narrow types", "pipeline.chunks.encode", "narrow_batch"),
    Place("statistics", "pipeline.chunks.encode", "compute_stats"),
    Place("bind a batch", "pipeline.store.chunk_writer", "ChunkWriter._batch"),
    Place("driver: serialize and send", "cassandra.cluster", "Session.execute_async"),
    Place("driver: answers", "cassandra.connection", "Connection.process_msg"),
    Place("wait for the cluster", "pipeline.store.window", "ByteWindow.take"),
    Place("finish: last answers, pages", "pipeline.store.chunk_writer", "ChunkWriter.finish"),
)
READ_PLACES = (
    *_COMMON,
    Place("catalogue and pages", "pipeline.store.catalogue", "Catalogue.page"),
    Place("catalogue and pages", "pipeline.store.catalogue", "Catalogue.page_refs"),
    Place("open Arrow IPC", "pipeline.chunks.tile", "_from_stream"),
    Place("cast to the version's types", "pipeline.chunks.encode", "cast_batch"),
    Place("decode, rest", "pipeline.dataset.scan", "Scan._decode"),
    Place("fetch, rest", "pipeline.store.chunk_reader", "ChunkReader.fetch"),
    Place("driver: send", "cassandra.cluster", "Session.execute_async"),
    Place("wait for the cluster", "cassandra.cluster", "ResponseFuture.result"),
    Place("driver: answers", "cassandra.connection", "Connection.process_msg"),
    Place("driver: gather bytes", "cassandra.connection", "Connection.process_io_buffer"),
)


@dataclass(slots=True)
class _Spent:
    cpu_s: float = 0.0
    wall_s: float = 0.0
    calls: int = 0


@dataclass(slots=True)
class Profile:
    """Seconds by label and, of processor time, by kind of thread."""

    seconds: float = 0.0
    cpu_s: float = 0.0
    spent: dict[str, _Spent] = field(default_factory=lambda: defaultdict(_Spent))
    threads: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, the largest first."""
        lines = sorted(self.spent.items(), key=lambda item: -max(item[1].cpu_s, item[1].wall_s))
        return {
            "seconds": self.seconds,
            "cpu_s": self.cpu_s,
            "spent": {label: [round(s.cpu_s, 3), round(s.wall_s, 3), s.calls] for label, s in lines},
            "threads": {name: round(s, 2) for name, s in sorted(self.threads.items(), key=lambda item: -item[1])},
        }


def resolve(place: Place) -> tuple[Any, str]:
    """The object that holds the function, and its name there; raises when the product no longer has it."""
    owner: Any = importlib.import_module(place.module)
    *path, name = place.name.split(".")
    for part in path:
        owner = getattr(owner, part)
    getattr(owner, name)
    return owner, name


@contextmanager
def timed(places: tuple[Place, ...]) -> Iterator[Profile]:
    """Timers around every place until the block ends; the profile is complete afterwards."""
    profile = Profile()
    lock = threading.Lock()
    stack = threading.local()
    undo: list[tuple[Any, str, Any]] = []
    for place in places:
        owner, name = resolve(place)
        whole = vars(owner)[name] if isinstance(owner, type) else getattr(owner, name)
        undo.append((owner, name, whole))
        setattr(owner, name, _around(whole, profile.spent[place.label], stack, lock))
    began, cpu = time.perf_counter(), time.process_time()
    try:
        with _threads_counted(profile):
            yield profile
    finally:
        profile.seconds, profile.cpu_s = time.perf_counter() - began, time.process_time() - cpu
        for owner, name, whole in reversed(undo):
            setattr(owner, name, whole)


def _around(whole: Any, spent: _Spent, stack: threading.local, lock: threading.Lock) -> Any:
    function: Callable[..., Any] = whole.__func__ if isinstance(whole, classmethod | staticmethod) else whole

    @functools.wraps(function)
    def timed_call(*args: Any, **kwargs: Any) -> Any:
        frames = stack.__dict__.setdefault("frames", [])
        inner = [0.0, 0.0]
        frames.append(inner)
        cpu, wall = time.thread_time(), time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            cpu, wall = time.thread_time() - cpu, time.perf_counter() - wall
            frames.pop()
            if frames:
                frames[-1][0] += cpu
                frames[-1][1] += wall
            with lock:
                spent.cpu_s += cpu - inner[0]
                spent.wall_s += wall - inner[1]
                spent.calls += 1

    return type(whole)(timed_call) if isinstance(whole, classmethod | staticmethod) else timed_call


@contextmanager
def _threads_counted(profile: Profile) -> Iterator[None]:
    """The processor time of every thread by its kind: told at its end, or found where it still runs.

    Whoever looks from outside, again and again, misses short lives: with many threads one look takes longer than they.
    """
    first = _living()
    ended: list[tuple[int, str, float]] = []
    lock = threading.Lock()
    whole = threading.Thread.run

    def run(thread: threading.Thread) -> None:
        try:
            whole(thread)
        finally:
            with lock:
                ended.append((threading.get_native_id(), _kind(thread.name), time.thread_time()))

    threading.Thread.run = run  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        threading.Thread.run = whole  # type: ignore[method-assign]
        found: dict[str, float] = defaultdict(float)
        with lock:
            told = {number for number, _, _ in ended}
            for _, name, seconds in ended:
                found[name] += seconds
        for key, seconds in _living().items():
            if key[0] not in told:
                found[key[1]] += seconds - first.get(key, 0.0)
        profile.threads = {name: seconds for name, seconds in found.items() if seconds >= 0.01}


def _living() -> dict[tuple[int, str], float]:
    names = {thread.native_id: thread.name for thread in threading.enumerate()}
    found = {}
    for task in Path("/proc/self/task").iterdir():
        try:
            fields = (task / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # ended since it was listed
        name = names.get(int(task.name), "native threads")
        found[int(task.name), _kind(name)] = (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
    return found


def _kind(name: str) -> str:
    """``millrace-encode_3`` and ``Thread-7 (run)`` without what tells one of a kind from the next."""
    head, _, tail = name.rpartition("_")
    return head if head and tail.isdecimal() else name


def add_profile(report: Report, name: str, outcome: Outcome) -> None:
    """Rows that say where a profiled run's time went: by what was done, then by kind of thread."""
    said = outcome.facts["profile"]
    report.add(f"{name}, profiled: wall", said["seconds"], "s")
    report.add(f"{name}, profiled: processor time", said["cpu_s"], "s")
    for label, (cpu_s, wall_s, calls) in said["spent"].items():
        if calls:
            waits = label.startswith("wait")
            report.add(f"  {label}", wall_s if waits else cpu_s, "s waited" if waits else "s of a core")
    for thread, cpu_s in said["threads"].items():
        report.add(f"  thread {thread}", cpu_s, "s of a core")
