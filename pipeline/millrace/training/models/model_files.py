"""The files of a model: those of its function, with the recipe of its data, its metrics and its report."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from millrace.dataset import Recipe

RECIPE_FILE: Final = "recipe.json"
METRICS_FILE: Final = "metrics.json"
REPORT_FILE: Final = "report.md"
OWN_FILES: Final = frozenset({RECIPE_FILE, METRICS_FILE, REPORT_FILE})
"""The files that a function does not return."""
_TIME_S: Final = 315_532_800
"""1980-01-01 in UTC, the time of each file: equal models have equal facts."""


class FileDataset(Protocol):
    """The part of a dataset of the kind ``bytes`` that has its files."""

    def to_batches(self, columns: Any = None, filter: Any = None) -> Iterable[pa.RecordBatch]:
        """Yield the pieces of the files."""


def files_of(files: Mapping[str, bytes], recipe: Recipe, metrics: Mapping[str, float], report: str) -> dict[str, bytes]:
    """Return all files of a model, sorted by path; equal arguments give equal bytes."""
    own = {
        RECIPE_FILE: _json_bytes(asdict(recipe)),  # in its own order, because that of the splits counts
        METRICS_FILE: _json_bytes(dict(sorted(metrics.items()))),
        REPORT_FILE: (report or _table(metrics)).rstrip("\n").encode() + b"\n",
    }
    return dict(sorted({**files, **own}.items()))


def _json_bytes(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def _table(metrics: Mapping[str, float]) -> str:
    rows = [f"| {name} | {value:.6g} |" for name, value in sorted(metrics.items())]
    return "\n".join(["| metric | value |", "|---|---|", *rows])


def write_files(files: Mapping[str, bytes], folder: Path) -> None:
    """Write the files below a folder, each with the same time."""
    for path, data in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        os.utime(target, (_TIME_S, _TIME_S))


def read_files(dataset: FileDataset, path: str | None = None) -> dict[str, bytes]:
    """Return the files of a version of the kind ``bytes`` by their paths: all of them, or the one at ``path``."""
    condition = None if path is None else pc.field("path") == path
    pieces: dict[str, list[bytes]] = {}
    for batch in dataset.to_batches(filter=condition):
        for name, data in zip(batch.column("path").to_pylist(), batch.column("data").to_pylist(), strict=True):
            pieces.setdefault(name, []).append(data)
    return {name: b"".join(parts) for name, parts in pieces.items()}


def file_names(dataset: FileDataset) -> tuple[str, ...]:
    """Return the paths of the files in their order; the content is not read."""
    batches = dataset.to_batches(["path"])
    return tuple(dict.fromkeys(path for batch in batches for path in batch.column("path").to_pylist()))
