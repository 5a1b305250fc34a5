"""The memory and the processor time of the worker processes of a reader; only the standard library is imported."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["workers_use"]

_SAMPLE_S = 0.25


@contextmanager
def workers_use(workers: int) -> Iterator[dict[str, Any]]:
    """Fill a dict with ``workers_peak_bytes`` and ``workers_cpu_s``, or leave it empty if there are no workers.

    Both are sampled. A page that processes share is counted in shares (PSS). The processor time is that of processes
    which others started, such as a fork server: that of this one's own children counts when they have ended.
    """
    facts: dict[str, Any] = {}
    if not workers:
        yield facts
        return
    ended = threading.Event()
    peaks, cpu_s = [0], dict[str, float]()

    def sample() -> None:
        while not ended.wait(_SAMPLE_S):
            children = _children(str(os.getpid()))
            others = [pid for child in children for pid in _children(child)]
            peaks[0] = max(peaks[0], sum(map(_pss_bytes, [*children, *others])))
            cpu_s.update({pid: _cpu_s(pid) or cpu_s.get(pid, 0.0) for pid in others})

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield facts
    finally:
        ended.set()
        thread.join()
    facts.update(workers_peak_bytes=peaks[0], workers_cpu_s=sum(cpu_s.values()))


def _children(pid: str) -> list[str]:
    lists = map(_text, Path(f"/proc/{pid}/task").glob("*/children"))
    return [child for text in lists for child in text.split()]


def _pss_bytes(pid: str) -> int:
    lines = _text(Path(f"/proc/{pid}/smaps_rollup")).splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def _cpu_s(pid: str) -> float:
    fields = _text(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if fields else 0.0


def _text(path: Path) -> str:
    """Return the text of a file, or nothing if its process has ended."""
    try:
        return path.read_text()
    except OSError:
        return ""
