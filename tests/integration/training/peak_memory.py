"""Run by tests of the reader in a process of its own: read a dataset, and print the peak memory as JSON.

python -m tests.integration.training.peak_memory ARGUMENTS

ARGUMENTS is a JSON object with ``dataset``, ``epochs`` and ``options``.
"""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa

from millrace import connect
from millrace.training import TrainingLoader


def main(arguments: dict[str, Any]) -> None:
    with connect() as store, store.dataset(arguments["dataset"]).training(**arguments["options"]) as loader:
        print(json.dumps(memory(loader, arguments["epochs"])))


def memory(loader: TrainingLoader, epochs: int) -> dict[str, int]:
    """Read some epochs, and return the peak memory above that of the process before the first batch."""
    gc.collect()
    reset_peak()
    before, rows = status_bytes("VmRSS"), 0
    for _ in range(epochs):
        for batch in loader:
            rows += batch.num_rows if isinstance(batch, pa.RecordBatch) else len(next(iter(batch.values())))
    return {
        "peak_bytes": status_bytes("VmHWM") - before,
        "prefetch_bytes": loader.prefetch_bytes,
        "rows": rows,
        "steps": len(loader),
    }


def reset_peak() -> None:
    """Let the peak memory of this process be that of now."""
    Path("/proc/self/clear_refs").write_text("5")


def status_bytes(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) * 1024


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
