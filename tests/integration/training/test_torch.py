"""PyTorch over the real services: loaders with workers, and training that is killed and resumed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pytest

from local_stack.settings import CHECKOUT, PYTHON_PATH
from millrace.api import Store
from millrace.load import LoadOptions
from millrace.settings import Settings
from tests.package_folder import package_folder

pytestmark = [pytest.mark.torch, pytest.mark.full]

RUN_S = 600
ROWS, BATCH_ROWS = 40_000, 640
EXAMPLE = CHECKOUT / "examples" / "train_with_torch.py"
KILLED_AFTER = 42
"""Steps of an epoch of 62: checkpoints are written every 5 steps, and more batches were read ahead."""


@pytest.fixture(scope="module")
def torch_folder() -> Path:
    try:
        return package_folder("torch", timeout_s=3000)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"the wheel of torch cannot be installed: {error}")


@pytest.fixture(scope="module")
def environment(torch_folder: Path, settings: Settings) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": f"{PYTHON_PATH}:{torch_folder}",
        "MILLRACE_CASSANDRA__KEYSPACE": settings.cassandra.keyspace,
        "GLOO_SOCKET_IFNAME": "lo",
        "OMP_NUM_THREADS": "1",
    }


@pytest.fixture(scope="module")
def dataset(store: Store) -> str:
    """Load rows in some 20 chunks of random numbers, and return the name."""
    rng, name = np.random.default_rng(0), f"torch_{uuid4().hex[:8]}"
    x = rng.normal(size=(ROWS, 8)).astype(np.float32)
    lists = pa.FixedSizeListArray.from_arrays(pa.array(x.ravel()), 8)
    y = pa.array((x @ np.arange(8)).astype(np.float32))
    report = store.load(name, pa.table({"x": lists, "y": y}), LoadOptions(chunk_bytes=65_536))
    assert report.chunks >= 16
    return name


@pytest.fixture(scope="module")
def results(dataset: str, environment: dict[str, str]) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.integration.training.torch_runs", dataset]
    done = subprocess.run(
        command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, timeout=RUN_S, check=False
    )
    assert done.returncode == 0, done.stderr
    parsed: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return parsed


def test_item_k_of_a_data_loader_is_batch_k_with_any_workers_forked_and_spawned(results: dict[str, Any]) -> None:
    by_workers = results["workers"]
    first, second = by_workers["loader"]
    assert len(first) == len(second) == ROWS // BATCH_ROWS
    assert first != second
    for key in ("0 fork", "1 fork", "2 fork", "1 spawn", "2 spawn", "persistent"):
        assert by_workers[key] == [first, second], key


def test_with_workers_the_state_and_a_second_epoch_are_refused_and_state_at_is_named(results: dict[str, Any]) -> None:
    by_workers = results["workers"]
    assert by_workers["state_dict"].startswith("state_dict() is not possible: workers of a DataLoader read ahead")
    assert "state_at(step)" in by_workers["state_dict"]
    assert "set_epoch(n)" in by_workers["second epoch"]
    assert (by_workers["state_at"]["epoch"], by_workers["state_at"]["rows"]) == (1, 0)


def test_a_stateful_data_loader_continues_after_the_last_batch(results: dict[str, Any]) -> None:
    first = results["workers"]["loader"][0]
    assert len(results["resumed"]) == 12
    for key, batches in results["resumed"].items():
        assert batches == first, key


def test_a_mixture_is_read_by_a_data_loader_with_workers(results: dict[str, Any]) -> None:
    mixed = results["mixed"]
    assert mixed["0"] == mixed["2"] == mixed["loader"]
    assert len(set(mixed["loader"])) == len(mixed["loader"])


@pytest.mark.parametrize("name", ["loader", "mixture"])
def test_batches_of_numpy_are_items_of_at_most_one_worker_and_refused_for_more(
    results: dict[str, Any], name: str
) -> None:
    items = results["numpy"]
    for workers in (0, 1, 2):
        assert "only one with format='torch' is a dataset for a DataLoader" in items[f"{name} {workers}"]
    assert items[f"wrapped {name} 0"] is items[f"wrapped {name} 1"] is True
    assert "each of the 2 workers of the DataLoader would deliver all batches" in items[f"wrapped {name} 2"]


class Training:
    """A run of the example by torchrun."""

    def __init__(self, dataset: str, checkpoint: Path, processes: int, environment: dict[str, str]) -> None:
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        self._errors = checkpoint.with_suffix(".errors")
        with self._errors.open("w") as errors:
            self._process = subprocess.Popen(
                [*torchrun, str(EXAMPLE), dataset, str(checkpoint)],
                cwd=checkpoint.parent,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self._processes = processes
        self._pids: list[int] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        with self._process:  # closes the pipe, and waits
            if self._process.poll() is None:
                self._process.terminate()

    def steps(self) -> Iterator[dict[str, Any]]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            event = json.loads(line)
            if "pid" in event:
                self._pids.append(event["pid"])
            else:
                yield event

    def kill(self) -> None:
        """Kill all processes at once, as a machine does that loses its power."""
        assert len(self._pids) == self._processes
        for pid in (self._process.pid, *self._pids):
            os.kill(pid, signal.SIGKILL)
        self._process.wait(60)
        for pid in self._pids:
            _wait_gone(pid)

    def finish(self) -> list[dict[str, Any]]:
        steps = list(self.steps())
        assert self._process.wait(120) == 0, self._errors.read_text()
        return steps


def _wait_gone(pid: int) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        with contextlib.suppress(FileNotFoundError):
            if (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return
        time.sleep(0.05)
    raise AssertionError(f"process {pid} did not end")


def test_training_killed_on_two_processes_continues_on_four_and_on_one_with_equal_batches_and_losses(
    dataset: str, environment: dict[str, str], tmp_path: Path
) -> None:
    with Training(dataset, tmp_path / "unbroken.pt", 2, environment) as run:
        unbroken = run.finish()
    assert [step["step"] for step in unbroken] == list(range(1, 2 * (ROWS // BATCH_ROWS) + 1))
    with Training(dataset, tmp_path / "killed.pt", 2, environment) as run:
        next(step for step in run.steps() if step["step"] == KILLED_AFTER)
        run.kill()
    for processes in (4, 1):
        checkpoint = tmp_path / f"resumed-{processes}.pt"
        checkpoint.write_bytes((tmp_path / "killed.pt").read_bytes())
        with Training(dataset, checkpoint, processes, environment) as run:
            resumed = run.finish()
        first = resumed[0]["step"]
        assert KILLED_AFTER - 5 <= first <= KILLED_AFTER + 6
        expected = unbroken[first - 1 :]
        assert [step["batch"] for step in resumed] == [step["batch"] for step in expected]
        # The ranks' parts of a sum are added in another order.
        assert [step["loss"] for step in resumed] == pytest.approx([step["loss"] for step in expected], rel=1e-9)
