"""LanceDB: a local table, read by its ``StreamingDataset`` in a data loader of PyTorch."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from bench.epochs import Batches, CopiedEpochs

__all__ = ["LanceEpochs"]

_TABLE = "samples"
_WRITE_ROWS = 1 << 14


class LanceEpochs(CopiedEpochs):
    """Read the copy, a table."""

    def __init__(self, samples: str, target: str, batch_rows: int, workers: int) -> None:
        import lancedb
        from lancedb.streaming import StreamingDataset
        from torch.utils.data import DataLoader

        self._lancedb, self._dataset, self._loader = lancedb, StreamingDataset, DataLoader
        super().__init__(samples, target, batch_rows, workers)
        multiprocessing.set_forkserver_preload(["lancedb.streaming"])  # else each worker imports it in each epoch
        self._table = lancedb.connect(target).open_table(_TABLE)
        self._transform = _Rows(self.samples.x.shape[1:])
        self.configuration = (
            f"{self.copied}, StreamingDataset(shuffle=True, num_splits={max(1, workers)}), a transform to tensors",
            f"DataLoader(batch_size={batch_rows}, num_workers={workers})",
        )

    def batches(self, epoch: int) -> Batches:
        """Yield what the data loader collates, as NumPy arrays without a copy."""
        dataset = self._dataset(
            self._table, shuffle_seed=7, epoch=epoch, num_splits=max(1, self.workers), transform=self._transform
        )
        start = {"multiprocessing_context": "forkserver"} if self.workers else {}  # its threads do not survive a fork
        for x, *y in self._loader(dataset, batch_size=self.batch_rows, num_workers=self.workers, **start):
            yield x.numpy(), y[0].numpy() if y else None

    def write(self, folder: Path, deadline: float) -> int:
        """Write all samples, which takes seconds."""
        x, y = self.samples.x, self.samples.y
        values = pa.list_(pa.from_numpy_dtype(x.dtype), int(np.prod(x.shape[1:])))
        schema = pa.schema([("x", values)] + ([] if y is None else [("y", pa.int32())]))

        def batches() -> Iterator[pa.RecordBatch]:
            for begin in range(0, len(x), _WRITE_ROWS):
                rows = np.ascontiguousarray(x[begin : begin + _WRITE_ROWS]).reshape(-1)
                columns = [pa.FixedSizeListArray.from_arrays(pa.array(rows), values.list_size)]
                if y is not None:
                    columns.append(pa.array(np.ascontiguousarray(y[begin : begin + _WRITE_ROWS])))
                yield pa.record_batch(columns, schema=schema)

        reader = pa.RecordBatchReader.from_batches(schema, batches())
        self._lancedb.connect(str(folder)).create_table(_TABLE, reader)
        return len(x)


class _Rows:
    """Turn a record batch into one tuple of tensors for each row; worker processes need it to be picklable."""

    def __init__(self, sample: tuple[int, ...]) -> None:
        self._sample = sample

    def __call__(self, batch: pa.RecordBatch) -> list[tuple[Any, ...]]:
        import torch

        x = torch.tensor(batch.column(0).flatten().to_numpy()).reshape(-1, *self._sample)
        columns = [x] if batch.num_columns == 1 else [x, torch.tensor(batch.column(1).to_numpy())]
        return list(zip(*columns, strict=True))
