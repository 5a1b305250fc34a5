"""The result of a benchmark: a table of rows, ratios for other programs, one JSON file.

A figure may have an aim, shown beside it with ``met`` or ``missed``. A missed aim fails nothing, because timings depend
on the machine. An event that must never happen on any machine (a failed read) is among the ``failures``: the command
prints and writes the report, and then ends with an error.
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import mmap
import os
import platform
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from bench.ratios import RATIOS
from millrace.errors import InvalidSettingError

__all__ = ["Report", "Row", "machine", "versions"]

_PACKAGES = ("pyarrow", "cassandra-driver", "isal", "xxhash", "numpy")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: ``value`` in ``unit``, and ``peak_rss_bytes`` if ``what`` is a process."""

    what: str
    value: float
    unit: str
    peak_rss_bytes: int | None = None
    aims: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the JSON that other programs rely on; it has no ``peak_rss_bytes`` if there is none."""
        facts: dict[str, Any] = {"what": self.what, "value": _rounded(self.value), "unit": self.unit}
        if self.peak_rss_bytes is not None:
            facts["peak_rss_bytes"] = self.peak_rss_bytes
        return facts


@dataclass(slots=True)
class Report:
    """Rows in the order in which they were added, ratios by name, and notes shown below the table."""

    name: str
    rows: list[Row] = field(default_factory=list)
    ratios: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    extra_versions: dict[str, str] = field(default_factory=dict)
    aims: dict[str, str] = field(default_factory=dict)
    """The text shown beside the ratio of that name."""
    failures: list[str] = field(default_factory=list)

    def add(
        self,
        what: str,
        value: float,
        unit: str,
        *,
        peak_rss_bytes: int | None = None,
        at_most: float | None = None,
        peak_at_most: int | None = None,
    ) -> None:
        """Add a row, with aims for its value and for its peak memory if they are given.

        A value that is not finite raises ``InvalidSettingError``, because JSON cannot represent it.
        """
        if not math.isfinite(value):
            raise InvalidSettingError(f"benchmark {self.name}: {what} is {value}")
        aims = []
        if at_most is not None:
            aims.append(_aim(f"at most {_shown(at_most)} {unit}".rstrip(), value <= at_most))
        if peak_at_most is not None and peak_rss_bytes is not None:
            aims.append(_aim(f"at most {_megabytes(peak_at_most)}", peak_rss_bytes <= peak_at_most))
        self.rows.append(Row(what, value, unit, peak_rss_bytes, tuple(aims)))

    def ratio(self, name: str, ours: float, theirs: float, *, aim: float | None = None) -> float:
        """Record ``ours / theirs`` under a name of ``RATIOS``; above 1 means that Millrace is better.

        ``aim`` is the least value that it should have. Raises ``InvalidSettingError`` for another name or an impossible
        ratio.
        """
        if name not in RATIOS:
            raise InvalidSettingError(f"{name!r} is not a ratio of the contract", hint=f"there are {sorted(RATIOS)}")
        if theirs <= 0 or not math.isfinite(ours):
            raise InvalidSettingError(f"benchmark {self.name}: {name} would be {ours} / {theirs}")
        self.ratios[name] = _rounded(ours / theirs)
        if aim is not None:
            self.aims[name] = _aim(f"at least {_shown(aim)}", ours / theirs >= aim)
        return self.ratios[name]

    def number(self, name: str, value: float, *, at_least: float | None = None, at_most: float | None = None) -> None:
        """Record a count or a time under a name of ``RATIOS``; a count may be 0."""
        if name not in RATIOS or not math.isfinite(value):
            raise InvalidSettingError(f"benchmark {self.name}: {name!r} would be {value}")
        self.ratios[name] = _rounded(value)
        if at_least is not None:
            self.aims[name] = _aim(f"at least {_shown(at_least)}", value >= at_least)
        if at_most is not None:
            self.aims[name] = _aim(f"at most {_shown(at_most)}", value <= at_most)

    def must_be_zero(self, name: str, count: int) -> None:
        """Record a count under a name of ``RATIOS``; any other than 0 is also added to ``failures``."""
        self.number(name, count)
        if count:
            self.failures.append(f"{name} is {count}")

    def to_json(self) -> dict[str, Any]:
        """Return ``{"name", "machine", "versions", "rows", "ratios"}``, and ``notes`` if there are any.

        Aims are among the notes, because other programs rely on the form of rows and ratios, which has no aims.
        """
        facts: dict[str, Any] = {
            "name": self.name,
            "machine": machine(),
            "versions": {**versions(), **self.extra_versions},
            "rows": [row.to_json() for row in self.rows],
            "ratios": self.ratios,
        }
        aims = [f"{row.what.strip()}: {aim}" for row in self.rows for aim in row.aims]
        aims += [f"{name}: {aim}" for name, aim in self.aims.items()]
        if self.notes or aims:
            facts["notes"] = [*self.notes, *aims]
        return facts

    def table(self) -> str:
        """Return rows, ratios and notes as lines of text, columns aligned, aims last."""
        head = ("", "", "", "peak memory", "")
        lines = [
            (row.what, _shown(row.value), row.unit, _megabytes(row.peak_rss_bytes), "; ".join(row.aims))
            for row in self.rows
        ]
        widths = [max(len(line[i]) for line in (head, *lines)) for i in range(4)]
        out = [self.name]
        for what, value, unit, memory, aims in (head, *lines):
            cells = f"{what:{widths[0]}}  {value:>{widths[1]}}  {unit:{widths[2]}}  {memory:>{widths[3]}}  {aims}"
            out.append(cells.rstrip())
        if self.ratios:
            wide = max(map(len, self.ratios))
            shown = max(len(_shown(value)) for value in self.ratios.values())
            out.append("")
            for name, ratio in self.ratios.items():
                out.append(f"{name:{wide}}  {_shown(ratio):{shown}}  {self.aims.get(name, '')}".rstrip())
        return "\n".join([*out, *(["", *self.notes] if self.notes else [])])

    def write(self, folder: Path) -> Path:
        """Write ``<name>.json`` below ``folder``, completely or not at all; return its path."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.name}.json"
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(self.to_json(), indent=1) + "\n")
        partial.replace(path)
        return path


def machine() -> dict[str, Any]:
    """Return processor, cores that this process may use, memory, kernel, and how the kernel allocates memory."""
    return {
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": int(psutil.virtual_memory().total),
        "system": f"{platform.system()} {platform.release()}",
        "load_average_1min": round(os.getloadavg()[0], 2),
        "fresh_page_us": round(fresh_page_us(), 3),
        "huge_pages": _huge_pages(),
    }


def fresh_page_us(size_bytes: int = 256 << 20) -> float:
    """Return the microseconds that the first write to a page of 4 KiB takes, the median of three.

    In a virtual machine whose host takes back free memory this takes much longer, for every program here.
    """
    page_us = []
    for _ in range(3):
        with mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as fresh:
            began = time.perf_counter()
            fresh[:: mmap.PAGESIZE] = bytes(size_bytes // mmap.PAGESIZE)
            page_us.append((time.perf_counter() - began) / (size_bytes // mmap.PAGESIZE) * 1e6)
    return statistics.median(page_us)


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that the figures depend on."""
    releases = {"python": platform.python_version()}
    for package in _PACKAGES:
        releases[package] = importlib.metadata.version(package)
    return releases


def _huge_pages() -> str:
    try:
        modes = Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text()
    except OSError:
        return "unknown"
    return modes.partition("[")[2].partition("]")[0]


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _rounded(value: float) -> float:
    """Return the value with four significant digits, above 1,000 as a whole number; counts are unchanged."""
    if value == int(value):
        return int(value)
    return float(f"{value:.4g}") if abs(value) < 1000 else round(value)


def _shown(value: float) -> str:
    value = _rounded(value)
    return f"{value:,}" if abs(value) >= 1000 else f"{value:.3g}"


def _aim(target: str, met: bool) -> str:
    return f"aim {target}: {'met' if met else 'missed'}"


def _megabytes(size_bytes: int | None) -> str:
    return "" if size_bytes is None else f"{size_bytes / 1e6:,.0f} MB"
