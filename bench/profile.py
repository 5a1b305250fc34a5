"""Where the time goes: timers put around the product's functions from outside, and the processor time of threads.

Times are exclusive: the time that a timed function spends in another timed one counts for the other. ``cpu_s`` is the
processor time of the calling thread and ``wall_s`` the elapsed time, so their difference is waiting. The product
contains none of this, and none of it runs while a contestant races.
"""

from __future__ import annotations

import functools
import os
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.contestant import Outcome
from bench.places import CodeLocation
from bench.report import Report

__all__ = ["Profile", "add_profile", "timed"]

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(slots=True)
class _Spent:
    cpu_s: float = 0.0
    wall_s: float = 0.0
    calls: int = 0


@dataclass(slots=True)
class Profile:
    """Seconds by label, and seconds of processor time by kind of thread."""

    seconds: float = 0.0
    cpu_s: float = 0.0
    spent: dict[str, _Spent] = field(default_factory=lambda: defaultdict(_Spent))
    threads: dict[str, float] = field(default_factory=dict)
    calls: Counter[CodeLocation] = field(default_factory=Counter)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON, the longest times first."""
        lines = sorted(self.spent.items(), key=lambda item: -(item[1].wall_s if _waits(item[0]) else item[1].cpu_s))
        return {
            "seconds": self.seconds,
            "cpu_s": self.cpu_s,
            "spent": {label: [round(s.cpu_s, 6), round(s.wall_s, 6), s.calls] for label, s in lines},
            "threads": {name: round(s, 2) for name, s in sorted(self.threads.items(), key=lambda item: -item[1])},
        }


@contextmanager
def timed(places: tuple[CodeLocation, ...]) -> Iterator[Profile]:
    """Put timers around every place until the block ends; the profile is complete afterwards."""
    profile = Profile()
    lock = threading.Lock()
    stack = threading.local()
    undo: list[tuple[Any, str, Any]] = []
    for place in places:
        owner, name = place.owner, place.name
        whole = vars(owner)[name] if isinstance(owner, type) else getattr(owner, name)
        undo.append((owner, name, whole))
        setattr(owner, name, _around(whole, place, profile, stack, lock))
    began, cpu = time.perf_counter(), time.process_time()
    try:
        with _threads_counted(profile):
            yield profile
    finally:
        profile.seconds, profile.cpu_s = time.perf_counter() - began, time.process_time() - cpu
        for owner, name, whole in reversed(undo):
            setattr(owner, name, whole)


def _around(whole: Any, place: CodeLocation, profile: Profile, stack: threading.local, lock: threading.Lock) -> Any:
    spent = profile.spent[place.label]
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
                profile.calls[place] += 1

    return type(whole)(timed_call) if isinstance(whole, classmethod | staticmethod) else timed_call


@contextmanager
def _threads_counted(profile: Profile) -> Iterator[None]:
    """Count the processor time of every thread by its kind.

    The time is recorded when a thread ends, or at the end of the block if it still runs. Sampling from outside would
    miss short-lived threads: with many threads one sample takes longer than they live.
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
        seconds_by_name: dict[str, float] = defaultdict(float)
        with lock:
            ended_numbers = {number for number, _, _ in ended}
            for _, name, seconds in ended:
                seconds_by_name[name] += seconds
        for key, seconds in _living().items():
            if key[0] not in ended_numbers:
                seconds_by_name[key[1]] += seconds - first.get(key, 0.0)
        profile.threads = {name: seconds for name, seconds in seconds_by_name.items() if seconds >= 0.01}


def _living() -> dict[tuple[int, str], float]:
    names = {thread.native_id: thread.name for thread in threading.enumerate()}
    seconds_by_thread = {}
    for task in Path("/proc/self/task").iterdir():
        try:
            fields = (task / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # ended since it was listed
        name = names.get(int(task.name), "native threads")
        seconds_by_thread[int(task.name), _kind(name)] = (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
    return seconds_by_thread


def _waits(label: str) -> bool:
    return label.startswith("wait")


def _kind(name: str) -> str:
    """Return the name of a thread without its number: ``millrace-encode`` for ``millrace-encode_3``."""
    head, _, tail = name.rpartition("_")
    return head if head and tail.isdecimal() else name


def add_profile(report: Report, name: str, outcome: Outcome) -> None:
    """Add rows on where the time of a profiled run went: by function, then by kind of thread.

    A label whose functions were never called is named below the table: the product was changed, and the profile was
    not.
    """
    facts = outcome.facts["profile"]
    report.add(f"{name}, profiled: wall", facts["seconds"], "s")
    report.add(f"{name}, profiled: processor time", facts["cpu_s"], "s")
    for label, (cpu_s, wall_s, calls) in facts["spent"].items():
        if calls:
            waits = _waits(label)
            report.add(f"  {label}", wall_s if waits else cpu_s, "s waited" if waits else "s of a core")
        else:
            report.notes.append(f"{name}, profiled: never came to {label!r}, so its time is in another line.")
    for thread, cpu_s in facts["threads"].items():
        report.add(f"  thread {thread}", cpu_s, "s of a core")
