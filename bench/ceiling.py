"""The ceiling: the same stored bytes, batches, window, connection settings and threads, without Millrace's code.

``python bench/ceiling.py load|read JOB.json`` works once for each line on standard input. ``load`` compresses the raw
bytes, discards the result and writes the stored bytes. ``read`` fetches the stored bytes, decompresses them and
discards the result.
"""

import json
import mmap
import os
import resource
import sys
import threading
import time
import uuid
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from cassandra import ConsistencyLevel
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from cassandra.connection import Connection
from cassandra.io.libevreactor import LibevConnection
from cassandra.policies import DCAwareRoundRobinPolicy, TokenAwarePolicy
from cassandra.query import BatchStatement, BatchType
from isal import igzip_lib, isal_zlib

direction, job = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())
for kind in (Connection, LibevConnection):
    kind.in_buffer_size = kind.out_buffer_size = job["buffer_bytes"]
policy = TokenAwarePolicy(DCAwareRoundRobinPolicy(job["local_dc"]), shuffle_replicas=True)
profile = ExecutionProfile(policy, consistency_level=ConsistencyLevel.LOCAL_ONE, request_timeout=60)
cluster = Cluster(job["contact_points"], port=job["port"], protocol_version=4, compression=False,
                  connection_class=LibevConnection, execution_profiles={EXEC_PROFILE_DEFAULT: profile})  # fmt: skip
session = cluster.connect(job["keyspace"])
table, place = job["table"], "dataset, attempt, bucket, chunk"
insert = session.prepare(f"INSERT INTO {table} ({place}, tile, data) VALUES (?, ?, ?, ?, ?, ?)")
select = session.prepare(f"SELECT data FROM {table} WHERE {' = ? AND '.join(place.split(', '))} = ?")
files = {name: mmap.mmap(os.open(job[name], os.O_RDONLY), 0, access=mmap.ACCESS_READ) for name in ("raw", "stored")}
views = {name: memoryview(file) for name, file in files.items()}
room, free = [job["window_bytes"]], threading.Condition()


def _deflate(chunk: Any) -> Any:
    for tile in chunk["tiles"]:
        if tile["codec"] == "gzip":
            isal_zlib.compress(views["raw"][tile["raw"] : tile["raw"] + tile["raw_bytes"]], job["level"], wbits=31)
    return [views["stored"][tile["stored"] : tile["stored"] + tile["stored_bytes"]] for tile in chunk["tiles"]]


def _give_back(_answer: Any, size: int) -> None:
    with free:
        room[0] += size
        free.notify()


def _load() -> None:
    attempt_id, sent, ahead = uuid.uuid4(), [], deque[Any]()
    with ThreadPoolExecutor(job["threads"]) as pool:
        for chunk in [*job["chunks"], *[None] * (job["threads"] + 1)]:
            ahead.append((chunk, chunk and pool.submit(_deflate, chunk)))
            if len(ahead) <= job["threads"] + 1 or ahead[0][0] is None:
                continue
            chunk, tiles = ahead.popleft()
            batch = BatchStatement(BatchType.UNLOGGED, consistency_level=ConsistencyLevel.TWO)
            for number, data in enumerate(tiles.result()):
                batch.add(insert, ("ceiling", attempt_id, chunk["bucket"], chunk["chunk"], number, bytes(data)))
            size = sum(tile["stored_bytes"] for tile in chunk["tiles"])
            with free:
                while room[0] < size:
                    free.wait()
                room[0] -= size
            sent.append(session.execute_async(batch))
            sent[-1].add_callbacks(_give_back, _give_back, (size,), errback_args=(size,))
    for answer in sent:
        answer.result()


def _fetch(chunk: Any) -> None:
    rows = session.execute(select, (chunk["dataset"], uuid.UUID(chunk["attempt_id"]), chunk["bucket"], chunk["chunk"]))
    for row, tile in zip(rows, chunk["tiles"], strict=True):
        if tile["codec"] == "gzip":  # with spare bytes isal does it in one call
            igzip_lib.decompress(row.data, flag=igzip_lib.DECOMP_GZIP, bufsize=tile["raw_bytes"] + 64)


def _read() -> None:
    with ThreadPoolExecutor(job["threads"]) as threads:
        list(threads.map(_fetch, job["chunks"]))


for _ in sys.stdin:
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    _load() if direction == "load" else _read()
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
    user_s, kernel_s, faults = (after[i] - before[i] for i in (0, 1, 6))  # ru_utime, ru_stime, ru_minflt
    peak = int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) * 1024
    said = {"seconds": seconds, "cpu_s": user_s + kernel_s, "kernel_s": kernel_s, "page_faults": faults}
    print(json.dumps({**said, "rows": job["rows"], "peak_rss_bytes": peak}), flush=True)
cluster.shutdown()
