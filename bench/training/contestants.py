"""The contestants of ``bench training`` for one shape, by their names; each function starts one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bench.contestant import Contestant
from bench.data import bench_folder
from bench.peers.environments import interpreter
from bench.training.prepared import FORMS, Prepared

__all__ = [
    "BATCH_ROWS",
    "FIRST_BATCH",
    "PEERS",
    "PEER_BATCH_ROWS",
    "PARQUET",
    "Peer",
    "Starters",
    "cold",
    "of_peer",
    "ours",
    "parquet",
    "starts",
    "waits",
    "warm",
]

BATCH_ROWS = (256, 4096)
PEER_BATCH_ROWS = 256
_SCOPE: dict[str, Any] = {"window_chunks": 1}
_WINDOW_CHUNKS = 8
"""The chunks in a window of all lanes with ``window_chunks=1``: the scope in which the probe and Parquet shuffle."""

FIRST_BATCH = "time to the first batch"

PARQUET = (("gzip", "binary"), ("gzip", "lists"), ("plain", "binary"))
"""Codec and encoding; compressed lists may have less to decompress, and the better one counts."""

Starter = Callable[[str], Contestant]
"""Start a contestant of that name."""
Starters = dict[str, Starter]


@dataclass(frozen=True, slots=True)
class Peer:
    """A peer with an environment of its own: the name of its requirements file, its package, and its contestant."""

    name: str
    package: str
    work: str
    python: str = sys.executable
    workers: tuple[int, ...] = (0, 2)


PEERS = (
    Peer("litdata", "litdata", "bench.peers.litdata:LitDataEpochs"),
    Peer("lancedb", "lancedb", "bench.peers.lancedb:LanceEpochs"),
    Peer("mosaicml", "streaming-community", "bench.peers.mosaicml:MosaicEpochs"),
    Peer("webdataset", "webdataset", "bench.peers.webdataset:WebDatasetEpochs"),
    Peer("annbatch", "annbatch", "bench.peers.annbatch:AnnBatchEpochs", python="3.12", workers=(0,)),
    Peer("redis_samples", "redis", "bench.peers.redis_samples:RedisSampleEpochs"),
)


def ours(form: str, batch_rows: int) -> str:
    """Return the name of Millrace as a contestant; ``form`` is a form of Redis, ``decoded`` or ``cold``."""
    return f"Millrace, {form}, {batch_rows}"


def parquet(codec: str, encoding: str, batch_rows: int) -> str:
    """Return the name of Parquet as a contestant."""
    return f"Parquet, {codec}, {encoding}, {batch_rows}"


def warm(shape: Prepared, batch_rows: int, probe: Path | None) -> Starters:
    """Return Millrace in each form, Parquet, memmap and the probe, with one size of batches."""
    local = partial(_local, shape, batch_rows=batch_rows)
    starters = {ours(form, batch_rows): _millrace(shape, form, batch_rows) for form in FORMS}
    decoded = _millrace(shape, "decoded", batch_rows, cache_bytes=2 * shape.version.raw_bytes)
    starters[ours("decoded", batch_rows)] = decoded
    groups = {"group_rows": shape.chunk_rows, "window_groups": _WINDOW_CHUNKS}
    for codec, encoding in PARQUET:
        file = {"path": str(shape.folder / f"{codec}-{encoding}.parquet"), "codec": codec, "encoding": encoding}
        starters[parquet(codec, encoding, batch_rows)] = local(
            "bench.peers.parquet_windows:ParquetWindows", **file, **groups
        )
    starters[f"memmap, {batch_rows}"] = local("bench.peers.memmap:MemmapGather")
    if probe is not None:
        stored = {"probe": str(probe), "path": str(shape.redis.socket), "chunk_rows": shape.chunk_rows}
        for form in ("gzip", "raw", "decoded"):
            starters[f"probe, {form}, {batch_rows}"] = local("bench.peers.probe:ProbeEpochs", form=form, **stored)
    return starters


def of_peer(shape: Prepared, peer: Peer) -> Starters:
    """Return a peer with each number of workers, and Millrace in the form that the cache chose, beside it.

    A starter raises ``StackError`` if the peer's environment cannot be installed.
    """
    starters = {ours(shape.chosen, PEER_BATCH_ROWS): _millrace(shape, shape.chosen, PEER_BATCH_ROWS)}
    for workers in peer.workers:
        starters[f"{peer.name}, {workers} workers"] = _peer(shape, peer, workers)
    return starters


def cold(shape: Prepared, batch_rows: int) -> Starters:
    """Return Millrace without Redis, its ``to_batches``, and one row of Cassandra for each sample."""
    cassandra = shape.on.settings.cassandra
    job = {
        "contact_points": list(cassandra.contact_points),
        "port": cassandra.port,
        "local_dc": cassandra.local_dc,
        "keyspace": cassandra.keyspace,
        "table": f"rows_{shape.shape}_{batch_rows}",
    }
    return {
        ours("cold", batch_rows): _millrace(shape, "cold", batch_rows),
        "Millrace, to_batches": _local(shape, "bench.training.ours:ReadBatches", dataset=shape.datasets["stored"]),
        f"Cassandra rows, {batch_rows}": _local(
            shape, "bench.peers.cassandra_rows:CassandraRowEpochs", batch_rows=batch_rows, job=job
        ),
    }


def starts(shape: Prepared, batch_rows: int) -> Starters:
    """Return new loaders of Millrace: with the scope of 8 chunks, with the default window, and in the stored form."""
    start = partial(Contestant.of, work="bench.training.ours:TrainingStarts", env=shape.warm, batch_rows=batch_rows)
    chosen, stored = shape.datasets[shape.chosen], shape.datasets["stored"]
    return {
        FIRST_BATCH: partial(start, dataset=chosen, **_SCOPE),
        f"{FIRST_BATCH}, the default window": partial(start, dataset=chosen),
        f"{FIRST_BATCH}, the stored form": partial(start, dataset=stored, **_SCOPE),
    }


def waits(shape: Prepared, batch_rows: int, step_s: float) -> Contestant:
    """Start a consumer of Millrace that works ``step_s`` on each batch."""
    dataset, work = shape.datasets[shape.chosen], "bench.training.ours:TrainingWaits"
    name = "a consumer at half speed"
    return Contestant.of(name, work, shape.warm, dataset=dataset, batch_rows=batch_rows, step_s=step_s, **_SCOPE)


def _millrace(shape: Prepared, form: str, batch_rows: int, **options: Any) -> Starter:
    is_cold = form == "cold"
    env, servers = (shape.on.environment, shape.nodes) if is_cold else (shape.warm, [shape.redis.process.pid])
    arguments = {
        "samples": str(shape.samples.folder),
        "dataset": shape.datasets.get(form, shape.datasets["stored"]),
        "batch_rows": batch_rows,
        "servers": servers,
        **_SCOPE,
        **options,
    }
    return partial(Contestant.of, work="bench.training.ours:TrainingEpochs", env=env, **arguments)


def _local(shape: Prepared, work: str, **arguments: Any) -> Starter:
    samples = str(shape.samples.folder)
    return partial(Contestant.of, work=work, env=shape.on.environment, samples=samples, **arguments)


def _peer(shape: Prepared, peer: Peer, workers: int) -> Starter:
    arguments: dict[str, Any] = {"samples": str(shape.samples.folder), "batch_rows": PEER_BATCH_ROWS}
    if peer.name == "redis_samples":
        arguments["path"] = str(shape.redis.socket)
    else:
        arguments["target"] = str(shape.folder / peer.name)
    if peer.name == "annbatch":
        arguments["window_rows"] = _WINDOW_CHUNKS * shape.chunk_rows
    else:
        arguments["workers"] = workers

    def start(name: str) -> Contestant:
        python = interpreter(peer.name, bench_folder() / "peers", python=peer.python)
        return Contestant.in_environment(python, name, peer.work, **arguments)

    return start
