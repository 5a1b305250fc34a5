"""``bench orders``: tiles stored by (chunk, tile), as the product stores them, against (tile, chunk).

A reader of a few columns needs the same tiles of every chunk of a bucket; a reader of all columns needs chunk after
chunk. Both orders can be queried for exactly those tiles. They differ in the rows stored between the requested ones.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from cassandra.query import BatchStatement, BatchType

from bench.cluster import KEYSPACE, Cluster, cluster
from bench.options import Options
from bench.report import Report
from local_stack.nodetool import nodetool
from millrace.errors import StackError
from millrace.store.cluster.driver import LOCAL_ONE, TWO

__all__ = ["ORDERS", "WAYS", "Order", "run"]

BUCKETS, CHUNKS, TILES = 4, 13, 40
"""A bucket of 64 MB holds 13 chunks of 4.8 MB; a row of 120 columns has 40 tiles."""
_TILE_BYTES = 120_000
_SOME = [11, 30]
_NODES = (1, 2)
_THREADS = 4
WAYS = {
    "bucket": "2 of 40 tiles, a request a bucket",
    "chunk": "2 of 40 tiles, a request a chunk",
    "all": "all tiles, a request a chunk",
}

_Ask = tuple[str, Callable[[int], tuple[Any, ...]]]


@dataclass(frozen=True, slots=True)
class Order:
    """A table's clustering columns and, for each way to read, the condition and its values for a chunk."""

    table: str
    clustering: str
    asks: dict[str, _Ask]


ORDERS = (
    Order(
        "by_chunk",
        "chunk, tile",
        {
            "bucket": ("(chunk, tile) IN ?", lambda _: ([(chunk, tile) for chunk in range(CHUNKS) for tile in _SOME],)),
            "chunk": ("chunk = ? AND tile IN ?", lambda chunk: (chunk, _SOME)),
            "all": ("chunk = ?", lambda chunk: (chunk,)),
        },
    ),
    Order(
        "by_tile",
        "tile, chunk",
        {
            "bucket": ("tile IN ?", lambda _: (_SOME,)),
            "chunk": ("tile IN ? AND chunk = ?", lambda chunk: (_SOME, chunk)),
            "all": ("tile IN ? AND chunk = ?", lambda chunk: (list(range(TILES)), chunk)),
        },
    ),
)


def run(options: Options) -> Report:
    """Read the same tiles in both orders, in turn; raise when a way returns other than the requested tiles."""
    report = Report("orders")
    runs = max(options.runs, 5)
    with cluster() as on, ThreadPoolExecutor(_THREADS) as pool:
        report.extra_versions = {"cassandra": on.release}
        attempt_id = uuid.uuid4()
        for order in ORDERS:
            options.say(f"storing {BUCKETS * CHUNKS} chunks by ({order.clustering})")
            on.create_like_chunks(order.table, clustering=order.clustering)
            _store(on, order, attempt_id, pool)
        seconds: dict[tuple[str, str], list[float]] = {}
        for turn in range(-options.warm_ups, runs):
            for way in WAYS:
                for order in ORDERS:
                    took = _read(on, order, way, attempt_id, pool)
                    if turn >= 0:
                        seconds.setdefault((way, order.table), []).append(took)
        for order in ORDERS:
            on.execute(f"DROP TABLE {KEYSPACE}.{order.table}")
    _tell(report, {key: min(each) for key, each in seconds.items()}, runs)
    return report


def _store(on: Cluster, order: Order, attempt_id: uuid.UUID, pool: ThreadPoolExecutor) -> None:
    """Write as the product does, a batch per chunk; then flush, because only files have an order."""
    place = "dataset, attempt, bucket, chunk, tile, data"
    insert = on.cassandra.prepare(f"INSERT INTO {{ks}}.{order.table} ({place}) VALUES (?, ?, ?, ?, ?, ?)")
    data = os.urandom(_TILE_BYTES)

    def write(place: tuple[int, int]) -> None:
        batch = BatchStatement(BatchType.UNLOGGED, consistency_level=TWO)
        for tile in range(TILES):
            batch.add(insert, ("orders", attempt_id, *place, tile, data))
        on.cassandra.execute(batch)

    list(pool.map(write, [(bucket, chunk) for bucket in range(BUCKETS) for chunk in range(CHUNKS)]))
    for number in _NODES:
        done = nodetool(on.stack.node(number), ["flush", KEYSPACE, order.table], capture=True)
        if done.returncode:
            raise StackError(f"nodetool flush ended with {done.returncode}: {done.stderr.strip()}")


def _read(on: Cluster, order: Order, way: str, attempt_id: uuid.UUID, pool: ThreadPoolExecutor) -> float:
    """Return the seconds to read all buckets, with as many requests at a time as a reader has threads."""
    where, values = order.asks[way]
    query = (
        f"SELECT chunk, tile, data FROM {{ks}}.{order.table} WHERE dataset = ? AND attempt_id = ? AND bucket = ? AND "
    )
    statement = on.cassandra.prepare(query + where)
    chunks: Sequence[int] = (0,) if way == "bucket" else range(CHUNKS)
    bound = [
        statement.bind(("orders", attempt_id, bucket, *values(chunk))) for bucket in range(BUCKETS) for chunk in chunks
    ]
    for each in bound:
        each.consistency_level = LOCAL_ONE
    began = time.perf_counter()
    tiles = sum(pool.map(lambda each: len(on.cassandra.execute(each)), bound))
    took = time.perf_counter() - began
    expected = BUCKETS * CHUNKS * (TILES if way == "all" else len(_SOME))
    if tiles != expected:
        raise StackError(f"{order.table}, {WAYS[way]}: {tiles} tiles, not {expected}")
    return took


def _tell(report: Report, seconds: dict[tuple[str, str], float], runs: int) -> None:
    for way, description in WAYS.items():
        for order in ORDERS:
            report.add(f"{description}, by ({order.clustering})", seconds[way, order.table], "s")
        report.add(
            "  (tile, chunk) takes, by what (chunk, tile) takes",
            seconds[way, "by_tile"] / seconds[way, "by_chunk"],
            "times",
        )
    for order in ORDERS:
        ratio = seconds["all", order.table] / seconds["bucket", order.table]
        report.add(f"2 of 40 tiles against all, by ({order.clustering})", ratio, "times faster")
    report.notes.append(
        f"Best of {runs}, in turn, {BUCKETS} buckets of {CHUNKS} chunks of {TILES} tiles of {_TILE_BYTES:,} bytes, "
        "out of files. Above 1 times, (chunk, tile) is the faster one."
    )
