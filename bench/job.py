"""The ceiling's job: a version's chunks, stored and decompressed, and the settings by which Millrace moves them."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from bench.cluster import KEYSPACE, Cluster
from bench.contestant import Contestant
from millrace.api import Store
from millrace.chunks.encoding.codecs import codec_named
from millrace.compat.cassandra.connection import BUFFER_BYTES

__all__ = ["ceiling", "open_store", "read_threads", "write_job"]

_CEILING = Path(__file__).with_name("ceiling.py")


def open_store(on: Cluster) -> Store:
    """Return a store on the benchmark's keyspace that uses the cluster's own session: it must not be closed."""
    return Store(on.cassandra, on.settings)


def read_threads(store: Store) -> int:
    """Return the number of threads with which a scan reads, by the product's own rule."""
    return store.settings.read.decode_threads or (os.cpu_count() or 1) + 2


def write_job(store: Store, reference: str, folder: Path, *, table: str = "chunks") -> Path:
    """Write ``stored``, ``raw`` and ``job.json`` below ``folder``; return the path of ``job.json``.

    Only one chunk at a time is in memory.
    """
    dataset = store.dataset(reference)
    settings = store.settings
    chunks = []
    with (folder / "stored").open("wb") as stored_file, (folder / "raw").open("wb") as raw_file:
        for ref in dataset.refs():
            tiles = []
            for tile, stored in zip(ref.tiles, store.chunk_reader.fetch(ref), strict=True):
                raw = codec_named(tile.codec).decompress(stored, tile.raw_bytes)
                tiles.append(
                    {
                        "codec": tile.codec,
                        "raw": raw_file.tell(),
                        "raw_bytes": tile.raw_bytes,
                        "stored": stored_file.tell(),
                        "stored_bytes": tile.stored_bytes,
                    }
                )
                raw_file.write(raw)
                stored_file.write(stored)
            chunks.append(
                {
                    "dataset": ref.dataset,
                    "attempt_id": ref.attempt_id.hex,
                    "bucket": ref.bucket,
                    "chunk": ref.chunk,
                    "tiles": tiles,
                }
            )
    job = {
        "contact_points": list(settings.cassandra.contact_points),
        "port": settings.cassandra.port,
        "local_dc": settings.cassandra.local_dc,
        "keyspace": KEYSPACE,
        "table": table,
        "buffer_bytes": BUFFER_BYTES,
        "level": dataset.version.settings["chunks"]["codec_level"],
        "window_bytes": settings.load.window_bytes,
        "threads": 0,
        "rows": dataset.count_rows(),
        "raw": str(folder / "raw"),
        "stored": str(folder / "stored"),
        "chunks": chunks,
    }
    path = folder / "job.json"
    path.write_text(json.dumps(job))
    return path


def ceiling(direction: str, job: Path, threads: int) -> Contestant:
    """Start the ceiling's process for ``load`` or ``read``, with as many threads as Millrace has."""
    facts = json.loads(job.read_text())
    own = job.with_name(f"job-{direction}.json")
    own.write_text(json.dumps({**facts, "threads": threads}))
    return Contestant("ceiling", [sys.executable, str(_CEILING), direction, str(own)])
