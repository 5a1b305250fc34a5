"""What a benchmark found: rows for people, ratios for programs, one JSON file."""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import platform
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from pipeline.errors import InvalidSettingError

__all__ = ["RATIOS", "Report", "Row", "machine", "versions"]

_BRIDGE = ("clients", "lost", "p99_ms", "healthz_p99_ms", "bytes_per_client")

RATIOS = frozenset(
    {
        "load_vs_dsbulk",
        "load_vs_local_parquet",
        "load_vs_ceiling",
        "read_vs_local_parquet",
        "read_vs_ceiling",
        "read_vs_arcticdb",
        "project_2_of_200",
        "filter_1_percent",
        "failed_reads",
        "failed_loads",
        "longest_pause_killed_s",
        "longest_pause_frozen_s",
        "throughput_after",
        "failed",
        "total_vs_one",
        "chunk_p99_ms",
        *(key + peer for peer in ("", "_flask_sse", "_kafkasse") for key in _BRIDGE),
    }
)
"""Names that programs outside rely on; a benchmark may give no other."""

_PACKAGES = ("pyarrow", "cassandra-driver", "isal", "xxhash", "numpy")


@dataclass(frozen=True, slots=True)
class Row:
    """One line: ``value`` in ``unit``; ``peak_rss_bytes`` where ``what`` is a process."""

    what: str
    value: float
    unit: str
    peak_rss_bytes: int | None = None

    def to_json(self) -> dict[str, Any]:
        """The contract's form: no ``peak_rss_bytes`` where there is none."""
        said: dict[str, Any] = {"what": self.what, "value": _rounded(self.value), "unit": self.unit}
        if self.peak_rss_bytes is not None:
            said["peak_rss_bytes"] = self.peak_rss_bytes
        return said


@dataclass(slots=True)
class Report:
    """Rows in the order in which they were added, ratios by name, and notes that stand below the table."""

    name: str
    rows: list[Row] = field(default_factory=list)
    ratios: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    extra_versions: dict[str, str] = field(default_factory=dict)

    def add(self, what: str, value: float, unit: str, *, peak_rss_bytes: int | None = None) -> None:
        """Adds a row; a value that is no number raises ``InvalidSettingError``, because JSON has none either."""
        if not math.isfinite(value):
            raise InvalidSettingError(f"benchmark {self.name}: {what} is {value}")
        self.rows.append(Row(what, value, unit, peak_rss_bytes))

    def ratio(self, name: str, ours: float, theirs: float) -> float:
        """Keeps ``ours / theirs`` under a name of the contract; above 1 means that ours is better."""
        if name not in RATIOS:
            raise InvalidSettingError(f"{name!r} is no ratio of the contract", hint=f"there are {sorted(RATIOS)}")
        if theirs <= 0 or not math.isfinite(ours):
            raise InvalidSettingError(f"benchmark {self.name}: {name} would be {ours} / {theirs}")
        self.ratios[name] = _rounded(ours / theirs)
        return self.ratios[name]

    def number(self, name: str, value: float) -> None:
        """Keeps a count or a time under a name of the contract; a count may be 0."""
        if name not in RATIOS or not math.isfinite(value):
            raise InvalidSettingError(f"benchmark {self.name}: {name!r} would be {value}")
        self.ratios[name] = _rounded(value)

    def to_json(self) -> dict[str, Any]:
        """``{"name", "machine", "versions", "rows", "ratios"}``, and ``notes`` where there are any."""
        said: dict[str, Any] = {
            "name": self.name,
            "machine": machine(),
            "versions": {**versions(), **self.extra_versions},
            "rows": [row.to_json() for row in self.rows],
            "ratios": self.ratios,
        }
        if self.notes:
            said["notes"] = self.notes
        return said

    def table(self) -> str:
        """The rows, ratios and notes as lines of text, columns aligned."""
        lines = [(row.what, _shown(row.value), row.unit, _megabytes(row.peak_rss_bytes)) for row in self.rows]
        head = ("", "", "", "peak memory")
        widths = [max(len(line[i]) for line in (head, *lines)) for i in range(4)]
        out = [self.name, f"{'':{widths[0]}}  {'':{widths[1]}}  {'':{widths[2]}}  {head[3]:>{widths[3]}}".rstrip()]
        for what, value, unit, memory in lines:
            out.append(f"{what:{widths[0]}}  {value:>{widths[1]}}  {unit:{widths[2]}}  {memory:>{widths[3]}}".rstrip())
        if self.ratios:
            wide = max(map(len, self.ratios))
            out += ["", *(f"{name:{wide}}  {_shown(value)}" for name, value in self.ratios.items())]
        return "\n".join([*out, *(["", *self.notes] if self.notes else [])])

    def write(self, folder: Path) -> Path:
        """Writes ``<name>.json`` below ``folder``, whole or not at all."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.name}.json"
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(self.to_json(), indent=1) + "\n")
        partial.replace(path)
        return path


def machine() -> dict[str, Any]:
    """Processor, cores that this process may use, memory, kernel."""
    return {
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": int(psutil.virtual_memory().total),
        "system": f"{platform.system()} {platform.release()}",
        "load_average_1min": round(os.getloadavg()[0], 2),
    }


def versions() -> dict[str, str]:
    """Python and the packages that the numbers depend on."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        found[package] = importlib.metadata.version(package)
    return found


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _rounded(value: float) -> float:
    """Four digits that mean something; counts stay as they are."""
    if value == int(value):
        return int(value)
    return float(f"{value:.4g}") if abs(value) < 1000 else round(value)


def _shown(value: float) -> str:
    value = _rounded(value)
    return f"{value:,}" if abs(value) >= 1000 else f"{value:.3g}"


def _megabytes(size_bytes: int | None) -> str:
    return "" if size_bytes is None else f"{size_bytes / 1e6:,.0f} MB"
