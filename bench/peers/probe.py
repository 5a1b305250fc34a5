"""A probe of a training reader, a program of one file outside this project, run with its own code and data.

The option ``--probe`` names the file. It has the commands ``load``, ``read`` and ``mem``, and prints JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.epochs import Batches, Epochs
from millrace.errors import StackError

__all__ = ["ProbeEpochs"]

_TIMEOUT_S = 600


class ProbeEpochs(Epochs):
    """Each run is one process of the probe, which measures itself: ``form`` is ``gzip``, ``raw`` or ``decoded``.

    It reads gzip and raw values from the Redis at ``path``, a Unix socket, by its raw client, and keeps decoded chunks
    of ``chunk_rows`` in its own memory.
    """

    def __init__(self, samples: str, probe: str, path: str, form: str, chunk_rows: int, batch_rows: int) -> None:
        super().__init__(samples)
        self._command = [sys.executable, probe]
        folder = Path(samples)
        files = {"x": folder / "x.npy", "y": folder / "y.npy"}
        self._files = {key: file for key, file in files.items() if file.exists()}
        if form == "decoded":
            self._read = ["mem", *_options({**self._files, "rows-per-chunk": chunk_rows, "batch": batch_rows})]
        else:
            stored = {"sock": path, "name": "probe", "codec": form}
            self._call(["load", *_options({**stored, **self._files})])
            self._read = ["read", *_options({**stored, "client": "raw", "batch": batch_rows})]
        self.configuration = (f"{Path(probe).name} {self._read[0]}, its defaults: windows of 8 chunks, raw client",)

    def batches(self, epoch: int) -> Batches:
        """Raise: the probe delivers to itself."""
        raise NotImplementedError

    def run(self) -> dict[str, Any]:
        """Run the probe once; return what it measured."""
        facts = json.loads(self._call(self._read).splitlines()[-1])
        size_bytes = facts["mb_s"] * facts["wall"] * 1e6
        return {
            "rows": facts["rows"],
            "seconds": facts["wall"],
            "cpu_s": facts["cpu_gb"] * size_bytes / 1e9,
            "delivered_bytes": size_bytes,
            "first_batch_s": facts["ttfb"],
            "peak_rss_bytes": round(facts["rss"] * 2**20),
        }

    def check(self) -> dict[str, Any]:
        """Run the probe once, which checks no rows."""
        return self.run()

    def _call(self, arguments: list[str]) -> str:
        done = subprocess.run(
            [*self._command, *arguments], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
        if done.returncode:
            raise StackError(f"the probe failed: {done.stderr.strip().splitlines()[-1]}")
        return done.stdout


def _options(values: Mapping[str, Any]) -> list[str]:
    return [part for key, value in values.items() for part in (f"--{key}", str(value))]
