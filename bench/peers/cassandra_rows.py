"""One row in Cassandra for each sample, read by its key: the data model of readers without chunks."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from cassandra import ConsistencyLevel
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from cassandra.concurrent import execute_concurrent_with_args
from cassandra.policies import DCAwareRoundRobinPolicy, TokenAwarePolicy
from cassandra.query import tuple_factory

from bench.epochs import Batches, Epochs

__all__ = ["CassandraRowEpochs"]

_CONCURRENCY = 100
_LOAD_S = 20.0
_LOAD_ROWS = 1000
_TIMEOUT_S = 60.0


class CassandraRowEpochs(Epochs):
    """Read rows in random order, each by one query.

    ``job`` has contact points, port, data centre, keyspace and the name of the table, which is created.

    The samples are loaded for 20 s, and only those are read: loading all of them row by row would take minutes.
    """

    def __init__(self, samples: str, job: dict[str, Any], batch_rows: int) -> None:
        super().__init__(samples)
        self._batch_rows, self._x, self._y = batch_rows, self.samples.x, self.samples.y
        profile = ExecutionProfile(
            load_balancing_policy=TokenAwarePolicy(DCAwareRoundRobinPolicy(local_dc=job["local_dc"])),
            consistency_level=ConsistencyLevel.LOCAL_ONE,
            request_timeout=_TIMEOUT_S,
            row_factory=tuple_factory,
        )
        self._cluster = Cluster(
            job["contact_points"], job["port"], protocol_version=4, execution_profiles={EXEC_PROFILE_DEFAULT: profile}
        )
        self._session = self._cluster.connect(job["keyspace"])
        table = job["table"]
        self._session.execute(f"CREATE TABLE {table} (row int PRIMARY KEY, x blob, y int)", timeout=_TIMEOUT_S)
        self._select = self._session.prepare(f"SELECT x, y FROM {table} WHERE row = ?")
        self.rows = self._load(table)
        self.configuration = (
            f"{self.rows} rows (x blob, y int) loaded in {_LOAD_S:g} s, one query for each, consistency LOCAL_ONE",
            f"execute_concurrent_with_args(concurrency={_CONCURRENCY}), batches of {batch_rows} random rows",
        )

    def batches(self, epoch: int) -> Batches:
        """Yield batches filled from single rows."""
        order = np.random.default_rng([7, epoch]).permutation(self.rows)
        for begin in range(0, len(order), self._batch_rows):
            rows = order[begin : begin + self._batch_rows].tolist()
            answers = execute_concurrent_with_args(
                self._session, self._select, [(row,) for row in rows], concurrency=_CONCURRENCY
            )
            x = np.empty((len(rows), *self._x.shape[1:]), self._x.dtype)
            y = None if self._y is None else np.empty(len(rows), np.int32)
            for number, (_, values) in enumerate(answers):
                sample, label = values[0]
                x[number] = np.frombuffer(sample, x.dtype).reshape(x.shape[1:])
                if y is not None:
                    y[number] = label
            yield x, y

    def close(self) -> None:
        """Disconnect; the table goes with its keyspace."""
        self._cluster.shutdown()

    def _load(self, table: str) -> int:
        insert = self._session.prepare(f"INSERT INTO {table} (row, x, y) VALUES (?, ?, ?)")
        ends, row = time.monotonic() + _LOAD_S, 0
        while row < len(self._x) and time.monotonic() < ends:
            numbers = range(row, min(row + _LOAD_ROWS, len(self._x)))
            values = [(n, self._x[n].tobytes(), None if self._y is None else int(self._y[n])) for n in numbers]
            execute_concurrent_with_args(self._session, insert, values, concurrency=_CONCURRENCY)
            row = numbers.stop
        return row
