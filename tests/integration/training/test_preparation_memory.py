"""The whole process of a preparation stays below 700 MB for any size of its inputs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from bench.data import FLIGHTS_ROWS, flights_of_many_numbers, weather_csv
from millrace.api import Store
from millrace.load import LoadOptions
from millrace.sources import SourceOptions
from tests.integration.training.shipped_entry import shipped

PEAK_BYTES = 700_000_000
TIMEOUT_S = 900


@pytest.mark.parametrize("times", [4, pytest.param(40, marks=pytest.mark.full)])
def test_a_preparation_of_any_size_takes_at_most_700_mb_and_leaves_no_file(
    store: Store, tmp_path: Path, times: int
) -> None:
    """4 and 40 times flights are 1.35 and 13.5 million rows, of 200 MB and 2 GB as Arrow."""
    prefix = f"m{uuid4().hex[:8]}"
    nulls = LoadOptions(source=SourceOptions(null_values=("NA",)))
    store.load(f"{prefix}_flights", str(flights_of_many_numbers(times, tmp_path)), nulls)
    store.load(f"{prefix}_weather", str(weather_csv()), nulls)
    file, scratch = tmp_path / "training.yaml", tmp_path / "scratch"
    file.write_text(shipped(prefix))
    environment = {
        **os.environ,
        "MILLRACE_CASSANDRA__KEYSPACE": store.settings.cassandra.keyspace,
        "MILLRACE_TRAINING__SCRATCH": str(scratch),
    }
    command = [sys.executable, "-m", "tests.integration.training.preparation_memory", str(file), f"{prefix}_late"]
    done = subprocess.run(command, env=environment, timeout=TIMEOUT_S, check=True, capture_output=True, text=True)
    facts = json.loads(done.stdout.splitlines()[-1])
    print(
        f"peak {facts['peak_bytes'] / 1e6:,.0f} MB, temporary files {facts['training']['spilled_bytes'] / 1e6:,.0f} MB"
    )
    assert facts["training"]["rows_in"] == FLIGHTS_ROWS * times
    assert facts["peak_bytes"] <= PEAK_BYTES
    assert list(scratch.iterdir()) == []
