"""Run by a test in a process of its own: prepare declared training data, and print the peak memory as JSON.

python -m tests.integration.training.preparation_memory FILE NAME
"""

from __future__ import annotations

import json
import sys

from millrace import connect
from tests.integration.training.peak_memory import reset_peak, status_bytes


def main(file: str, name: str) -> None:
    reset_peak()
    with connect() as store:
        report = store.prepare(name, file=file, warm=False)
    print(json.dumps({"peak_bytes": status_bytes("VmHWM"), "training": report.training}))


if __name__ == "__main__":
    main(*sys.argv[1:])
