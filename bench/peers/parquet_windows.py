"""Parquet on the local disk, in the page cache, read by pyarrow in threads and shuffled in windows of row groups."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench.epochs import Batch, Batches, Epochs

__all__ = ["ParquetWindows", "write_samples"]

_ENCODINGS = {"binary": "fixed_size_binary without a dictionary", "lists": "lists of fixed size with a dictionary"}


def write_samples(
    x: np.ndarray, y: np.ndarray | None, path: Path, *, codec: str, encoding: str, group_rows: int
) -> None:
    """Write samples and labels, ``group_rows`` in a row group.

    The ``encoding`` of samples is ``binary``, values of fixed size, which need no decoding, or ``lists``, which are
    decoded but may have a dictionary, so that there is less to decompress.
    """
    kind = pa.binary(x[0].nbytes) if encoding == "binary" else pa.list_(pa.from_numpy_dtype(x.dtype), x[0].size)
    schema = pa.schema([("x", kind)] + ([] if y is None else [("y", pa.int32())]))
    how: dict[str, Any] = {"compression": codec, "compression_level": 1} if codec == "gzip" else {"compression": "none"}
    how["use_dictionary"] = ["x.list.element"] if encoding == "lists" else False
    partial = path.with_suffix(".partial")
    with pq.ParquetWriter(partial, schema, write_statistics=False, **how) as writer:
        for begin in range(0, len(x), group_rows):
            rows = np.ascontiguousarray(x[begin : begin + group_rows])
            columns = [_column(rows, kind)]
            if y is not None:
                columns.append(pa.array(np.ascontiguousarray(y[begin : begin + group_rows])))
            writer.write_batch(pa.record_batch(columns, schema=schema), row_group_size=group_rows)
    partial.replace(path)


def _column(rows: np.ndarray, kind: pa.DataType) -> pa.Array:
    if pa.types.is_fixed_size_list(kind):
        return pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), kind.list_size)
    return pa.FixedSizeBinaryArray.from_buffers(kind, len(rows), [None, pa.py_buffer(rows)])


class ParquetWindows(Epochs):
    """Read ``window_groups`` row groups at a time, in random order, into a permuted window; yield views of it.

    Threads read a row group each, and write its rows to their places. The next window is read while this one is
    delivered. A batch that crosses two windows is put together.
    """

    def __init__(
        self,
        samples: str,
        batch_rows: int,
        path: str,
        codec: str,
        encoding: str,
        group_rows: int,
        window_groups: int,
    ) -> None:
        super().__init__(samples)
        self._path, self._batch_rows, self._window_groups = path, batch_rows, window_groups
        x, y = self.samples.x, self.samples.y
        if not Path(path).exists():
            write_samples(x, y, Path(path), codec=codec, encoding=encoding, group_rows=group_rows)
        self._x_dtype, self._x_shape, self._has_labels = x.dtype, x.shape[1:], y is not None
        self._row = np.dtype((np.void, x[0].nbytes))
        self._local = threading.local()
        metadata = self._file.metadata
        self._group_rows = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        self.configuration = (
            f"{codec}, row groups of {group_rows} rows, samples as {_ENCODINGS[encoding]}",
            f"windows of {window_groups} row groups permuted, batches of {batch_rows}",
            f"{_threads()} threads, one row group each; the next window is read ahead",
        )

    def batches(self, epoch: int) -> Batches:
        """Yield batches; all have ``batch_rows`` rows, except the last one."""
        rest = self._window(0)
        for columns in self._windows(epoch):
            begin = 0
            if len(rest[0]):
                begin = min(self._batch_rows - len(rest[0]), len(columns[0]))
                rest = [np.concatenate([old, new[:begin]]) for old, new in zip(rest, columns, strict=True)]
                if len(rest[0]) < self._batch_rows:
                    continue
                yield self._batch(rest)
            end = begin + (len(columns[0]) - begin) // self._batch_rows * self._batch_rows
            for at in range(begin, end, self._batch_rows):
                yield self._batch([column[at : at + self._batch_rows] for column in columns])
            rest = [column[end:].copy() for column in columns]
        if len(rest[0]):
            yield self._batch(rest)

    def _windows(self, epoch: int) -> Iterator[list[np.ndarray]]:
        """Yield the permuted columns of each window; they are overwritten when the next but one is asked for."""
        random = np.random.default_rng([7, epoch])
        order = random.permutation(len(self._group_rows))
        windows = [order[at : at + self._window_groups] for at in range(0, len(order), self._window_groups)]
        most = max(self._group_rows) * self._window_groups
        buffers = [self._window(most), self._window(most)]
        with ThreadPoolExecutor(_threads()) as pool:
            ahead: deque[tuple[list[np.ndarray], list[Future[None]]]] = deque()
            for number, groups in enumerate([*windows, None]):
                if groups is not None:
                    ahead.append(self._submit(pool, buffers[number % 2], groups, random))
                if number:
                    columns, tasks = ahead.popleft()
                    for task in tasks:
                        task.result()
                    yield columns

    def _submit(
        self, pool: ThreadPoolExecutor, buffers: list[np.ndarray], groups: np.ndarray, random: np.random.Generator
    ) -> tuple[list[np.ndarray], list[Future[None]]]:
        rows = [self._group_rows[group] for group in groups]
        columns = [buffer[: sum(rows)] for buffer in buffers]
        places = np.split(random.permutation(sum(rows)), np.cumsum(rows)[:-1])
        return columns, [pool.submit(self._read, int(g), columns, at) for g, at in zip(groups, places, strict=True)]

    def _read(self, group: int, columns: list[np.ndarray], places: np.ndarray) -> None:
        table = self._file.read_row_group(group, use_threads=False)
        for column, out in zip(table.columns, columns, strict=True):
            at = 0
            for chunk in column.chunks:  # one, unless pyarrow cuts a large one
                buffer = chunk.values.buffers()[1] if pa.types.is_fixed_size_list(chunk.type) else chunk.buffers()[1]
                values = np.frombuffer(buffer, out.dtype, len(chunk), chunk.offset * out.itemsize)
                out[places[at : at + len(values)]] = values
                at += len(values)

    @property
    def _file(self) -> pq.ParquetFile:
        if not hasattr(self._local, "file"):
            self._local.file = pq.ParquetFile(self._path)
        return self._local.file

    def _window(self, rows: int) -> list[np.ndarray]:
        return [np.empty(rows, self._row)] + ([np.empty(rows, np.int32)] if self._has_labels else [])

    def _batch(self, columns: list[np.ndarray]) -> Batch:
        x = columns[0].view(self._x_dtype).reshape(len(columns[0]), *self._x_shape)
        return x, columns[1] if self._has_labels else None


def _threads() -> int:
    return len(os.sched_getaffinity(0))
