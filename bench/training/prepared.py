"""One shape of samples, ready for its races: loaded into Cassandra, and in Redis in both forms."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.cluster import Cluster
from bench.job import open_store
from bench.training.redis_server import OwnRedis
from bench.training.samples import Samples
from millrace.errors import StackError
from millrace.store import Version

__all__ = ["FORMS", "Prepared", "prepare"]

FORMS = ("stored", "raw")
_WARM_TIMEOUT_S = 600


@dataclass(frozen=True, slots=True)
class Prepared:
    """The samples of a shape, and where each contestant finds them.

    ``datasets`` has the dataset whose chunks are in Redis in each form; ``chosen`` is the form that the cache chose.
    ``folder`` is for the files of this shape's contestants.
    """

    samples: Samples
    on: Cluster
    redis: OwnRedis
    folder: Path
    datasets: Mapping[str, str]
    chosen: str
    version: Version

    @property
    def shape(self) -> str:
        """Return the name of the shape."""
        return self.samples.shape.name

    @property
    def chunk_rows(self) -> int:
        """Return the mean rows of a chunk."""
        return -(-self.version.rows // self.version.chunks)

    @property
    def warm(self) -> dict[str, str]:
        """Return the environment of a contestant that reads from Redis."""
        return {**self.on.environment, "MILLRACE_REDIS__URL": self.redis.url}

    @property
    def nodes(self) -> list[int]:
        """Return the processes of the nodes."""
        rows = self.on.stack.status()
        return [row["pid"] for row in rows if row["service"].startswith("cassandra") and row["pid"]]


def prepare(samples: Samples, on: Cluster, redis: OwnRedis, folder: Path) -> Prepared:
    """Load the samples twice, and warm one dataset in the form that the cache chooses, the other in the other form."""
    store = open_store(on)
    names = [f"training_{samples.shape.name}_{ending}" for ending in ("a", "b")]
    for name in names:
        store.load(name, str(samples.arrow))
    environment = {**os.environ, **on.environment, "MILLRACE_REDIS__URL": redis.url}
    chosen = _warm(names[0], environment)
    other = next(form for form in FORMS if form != chosen)
    _warm(names[1], environment, form=other)
    datasets = {chosen: names[0], other: names[1]}
    return Prepared(samples, on, redis, folder, datasets, chosen, store.dataset(names[0]).version)


def _warm(dataset: str, environment: Mapping[str, str], form: str | None = None) -> str:
    """Run ``millrace warm``; return the form; raise ``StackError`` if not all chunks are in Redis."""
    command = [sys.executable, "-m", "millrace", "warm", dataset, "--json", *(("--form", form) if form else ())]
    done = subprocess.run(command, env=dict(environment), capture_output=True, text=True, timeout=_WARM_TIMEOUT_S)
    if done.returncode:
        raise StackError(f"{dataset} could not be put into Redis: {done.stderr.strip()}")
    return str(json.loads(done.stdout)["form"])
