"""Run by tests of the reader in a process of its own: read a dataset, and report what was delivered.

python -m tests.integration.training.reader_runs ARGUMENTS

ARGUMENTS is a JSON object with ``dataset`` or ``state``, and ``options``. Then ``output`` is a file for a line of JSON
for each batch, ``batches`` the number of them, and ``pause_s`` a time after each. Without ``output`` the peak memory of
``epochs`` epochs is printed.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from millrace import connect
from millrace.training import TrainingLoader

COLUMN = "row"


def main(arguments: dict[str, Any]) -> None:
    with ExitStack() as stack:
        store = stack.enter_context(connect())
        state, options = arguments.get("state"), arguments["options"]
        loader = store.resume(state, **options) if state else store.dataset(arguments["dataset"]).training(**options)
        stack.enter_context(loader)
        if output := arguments.get("output"):
            write_batches(loader, Path(output), arguments.get("batches"), arguments.get("pause_s", 0))
        else:
            print(json.dumps(memory(loader, arguments["epochs"])))


def write_batches(loader: TrainingLoader, output: Path, batches: int | None, pause_s: float) -> None:
    """Append the rows and the state after each batch; a line is complete or absent, also if the process is killed."""
    with output.open("a") as file:
        for batch in islice(loader, batches):
            line = {"rows": batch[COLUMN].tolist(), "state": loader.state_dict()}
            file.write(json.dumps(line) + "\n")
            file.flush()
            time.sleep(pause_s)


def memory(loader: TrainingLoader, epochs: int) -> dict[str, int]:
    """Read some epochs, and return the peak memory above that of the process before the first batch."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
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


def status_bytes(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) * 1024


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
