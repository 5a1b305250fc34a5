"""Reading for training stays within the memory that the loader states, for rows of every shape."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pytest

from local_stack.flights import place_flights
from local_stack.settings import CHECKOUT, PYTHON_PATH
from millrace.api import Store
from millrace.errors import UsageError
from millrace.load import LoadOptions
from millrace.settings import Settings

RUN_S = 120
SLACK_BYTES = 64_000_000


def start(settings: Settings, **arguments: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.integration.training.peak_memory", json.dumps(arguments)]
    variables = {"PYTHONPATH": PYTHON_PATH, "MILLRACE_CASSANDRA__KEYSPACE": settings.cassandra.keyspace}
    return subprocess.Popen(command, cwd=CHECKOUT, env=os.environ | variables, text=True, stdout=subprocess.PIPE)


def flat_lists(values: np.ndarray, width: int) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), width)


def floats(rng: np.random.Generator) -> pa.Table:
    values = rng.normal(size=(240_000, 64)).astype(np.float32)
    return pa.table({"x": flat_lists(values, 64), "label": np.arange(240_000, dtype=np.int32)})


def images(rng: np.random.Generator) -> pa.Table:
    values = rng.integers(0, 255, (5_000, 3 * 64 * 64), np.uint8)
    return pa.table({"x": flat_lists(values, 3 * 64 * 64), "label": np.arange(5_000, dtype=np.int32)})


def tokens(rng: np.random.Generator) -> pa.Table:
    return pa.table({"x": flat_lists(rng.zipf(1.3, (8_000, 2048)).astype(np.int32), 2048)})


SHAPES: dict[str, Callable[[np.random.Generator], pa.Table]] = {"floats": floats, "images": images, "tokens": tokens}


@pytest.fixture(scope="module", params=[*SHAPES, "flights"])
def shaped(store: Store, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Load 60 to 100 MB of one shape, in chunks of at most 1 MB; flights are 50 MB."""
    name, make = f"{request.param}_{uuid4().hex[:8]}", SHAPES.get(request.param)
    options = LoadOptions(chunk_bytes=1_000_000)
    if make:
        store.load(name, make(np.random.default_rng(0)), options)
    else:
        store.load(name, str(place_flights(tmp_path_factory.mktemp("csv"))), options, null_values=("NA",))
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
    if is_flights and choice == "default":  # most of its columns are text or have nulls
        assert measured["prefetch_bytes"] <= 2.25 * measured["peak_bytes"]  # 1.8 to 2.1 were measured
