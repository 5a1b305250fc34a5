"""The memory of a load is independent of the size of its source: at most 400 MB of peak resident memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pytest

from local_stack.settings import CHECKOUT
from millrace.api import Store
from millrace.settings import LOADER_BYTES_MAX, Settings
from tests.remote_servers import BUCKET, S3Server

TOLERANCE_BYTES = 40_000_000
"""Difference allowed between the peaks of two loads of the same kind, due to allocators and threads."""

LOADER = """
import json, os, sys
import pyarrow as pa
from millrace.api import Store
from millrace.load import loader_memory
from millrace.settings import load_settings

if cores := int(os.environ.get("TEST_CORES", "0")):
    # As on a machine with more cores than this one may have: as much at once, though not as fast.
    os.sched_getaffinity = lambda pid: set(range(cores))
    pa.set_cpu_count(cores)
def stream(size_bytes):
    # Batches like flights, of 14 MB in memory.
    import numpy as np
    rng = np.random.default_rng(4)
    rows = 500_000
    def batch():
        return pa.record_batch({"n": rng.integers(0, 2**40, rows), "x": rng.normal(150, 90, rows).round(2),
                                "carrier": np.array(["UA", "B6", "AA", "DL"])[rng.integers(0, 4, rows)]})
    first = batch()
    batches = (batch() for _ in range(size_bytes // first.nbytes))
    return pa.RecordBatchReader.from_batches(first.schema, batches)

name, source = sys.argv[1:]
if source.startswith("stream:"):
    source = stream(int(source.partition(":")[2]))
with Store.connect(load_settings(redis={"url": ""}, kafka={"bootstrap_servers": ""})) as store, loader_memory():
    report = store.load(name, source, connection="lake" if sys.argv[2].startswith("s3:") else None)
# Not ru_maxrss: that begins with what the parent had.
with open("/proc/self/status") as status:
    peak = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
print(json.dumps({"peak_bytes": peak, "rows": report.rows, "seconds": report.seconds, "stored": report.stored_bytes}))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Return a folder whose files, gigabytes of them, are deleted at the end of the test."""
    yield tmp_path
    for path in tmp_path.iterdir():
        path.unlink()


def write_csv(path: Path, size_bytes: int) -> int:
    """Write a CSV like flights (times, numbers, codes, nulls) of at least ``size_bytes``; return its row count."""
    rng = np.random.default_rng(4)
    count = 100_000
    delay = rng.normal(8, 30, count).round()
    block = pa.table(
        {
            "year": np.full(count, 2013),
            "day": rng.integers(1, 32, count),
            "dep_time": pa.array(rng.integers(0, 2400, count), mask=rng.random(count) < 0.02),
            "dep_delay": pa.array(delay, mask=rng.random(count) < 0.02),
            "carrier": [("UA", "B6", "AA", "DL")[k] for k in rng.integers(0, 4, count)],
            "tailnum": [f"N{k}" for k in rng.integers(10_000, 99_999, count)],
            "air_time": rng.normal(150, 90, count).round(2),
            "distance": rng.integers(80, 5000, count),
        }
    )
    sink = pa.BufferOutputStream()
    pacsv.write_csv(block, sink, pacsv.WriteOptions(include_header=False, quoting_style="none"))
    data = sink.getvalue().to_pybytes()
    times = -(-size_bytes // len(data))
    with path.open("wb") as file:
        file.write((",".join(block.column_names) + "\n").encode())
        for _ in range(times):
            file.write(data)
    return times * count


def load(settings: Settings, name: str, source: Path | str, *, cores: int = 0) -> dict[str, float]:
    """Run ``Store.load`` as the command does, in a separate process that sees ``cores`` cores (0: this machine's)."""
    env = {**os.environ, "MILLRACE_CASSANDRA__KEYSPACE": settings.cassandra.keyspace, "TEST_CORES": str(cores)}
    done = subprocess.run(
        [sys.executable, "-c", LOADER, name, str(source)],
        cwd=CHECKOUT,
        env=env,
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    print(f"{source}: {said}")
    return said


def compare(store: Store, settings: Settings, folder: Path, small_bytes: int, large_bytes: int) -> None:
    peaks = {}
    for size_bytes in (small_bytes, large_bytes):
        name = f"m_{uuid4().hex[:10]}"
        source = folder / f"{size_bytes}.csv"
        rows = write_csv(source, size_bytes)
        assert source.stat().st_size >= size_bytes
        said = load(settings, name, source)
        source.unlink()
        assert said["rows"] == rows
        assert store.version(name).rows == rows
        peaks[size_bytes] = said["peak_bytes"]
        store.delete(name, whole=True, now=True)
    assert max(peaks.values()) <= LOADER_BYTES_MAX, peaks
    assert peaks[large_bytes] <= peaks[small_bytes] + TOLERANCE_BYTES, peaks


@pytest.mark.timeout(900)
def test_600_mb_need_no_more_memory_than_200_mb(store: Store, settings: Settings, folder: Path) -> None:
    compare(store, settings, folder, 200_000_000, 600_000_000)


@pytest.mark.timeout(600)
def test_sixteen_cores_need_no_more_memory_than_the_bound(store: Store, settings: Settings, folder: Path) -> None:
    name = f"m_{uuid4().hex[:10]}"
    rows = write_csv(folder / "a.csv", 300_000_000)
    said = load(settings, name, folder / "a.csv", cores=16)
    assert said["rows"] == rows
    assert said["peak_bytes"] <= LOADER_BYTES_MAX
    store.delete(name, whole=True, now=True)


@pytest.mark.timeout(900)
def test_a_stream_of_python_needs_no_more_memory_than_the_bound(store: Store, settings: Settings) -> None:
    peaks = []
    for size_bytes in (100_000_000, 500_000_000):
        name = f"m_{uuid4().hex[:10]}"
        said = load(settings, name, f"stream:{size_bytes}")
        assert store.version(name).rows == said["rows"] > size_bytes // 40
        peaks.append(said["peak_bytes"])
        store.delete(name, whole=True, now=True)
    assert max(peaks) <= LOADER_BYTES_MAX, peaks
    assert peaks[1] <= peaks[0] + TOLERANCE_BYTES, peaks


@pytest.mark.full
@pytest.mark.timeout(3000)
def test_2_gb_need_no_more_memory_than_200_mb(store: Store, settings: Settings, folder: Path) -> None:
    compare(store, settings, folder, 200_000_000, 2_000_000_000)


def test_the_readme_states_the_memory_bound_of_the_loader() -> None:
    assert f"A loader needs at most {LOADER_BYTES_MAX // 1_000_000} MB" in (CHECKOUT / "README.md").read_text()


@pytest.mark.full
def test_a_load_of_500_mb_from_s3_has_bounded_memory(settings: Settings, s3: S3Server, folder: Path) -> None:
    rows = write_csv(folder / "big.csv", 500_000_000)
    with (folder / "big.csv").open("rb") as file:
        s3.client.upload_fileobj(file, BUCKET, "big.csv")
    measured = load(settings, f"memory_{uuid4().hex[:8]}", f"s3://{BUCKET}/big.csv")
    assert measured["rows"] == rows
    assert measured["peak_bytes"] < LOADER_BYTES_MAX
