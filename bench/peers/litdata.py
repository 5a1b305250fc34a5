"""LitData: samples in chunks of 64 MB, optimized as its README recommends, read by its streaming data loader."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench.epochs import Batches, CopiedEpochs, SampleFiles

__all__ = ["LitDataEpochs"]

_CHUNK_BYTES = 64_000_000
_WRITERS = 2
_BLOCK_ROWS = 4096


class LitDataEpochs(CopiedEpochs):
    """Read the optimized copy. Tokens have no headers and are read as blocks, others are a tensor and a number."""

    def __init__(self, samples: str, target: str, batch_rows: int, workers: int) -> None:
        import litdata

        self._litdata = litdata
        super().__init__(samples, target, batch_rows, workers)
        self._tokens = 0 if self.samples.y is not None else self.samples.x.shape[1]
        items = f"TokensLoader({self._tokens})" if self._tokens else "batch_decode=all, item_shuffle_window=full"
        self.configuration = (
            f"{self.copied}, optimize(chunk_bytes=64MB), uncompressed, StreamingDataset(shuffle=True), {items}",
            f"StreamingDataLoader(batch_size={batch_rows}, num_workers={workers})",
        )

    def batches(self, epoch: int) -> Batches:
        """Yield what the data loader collates, as NumPy arrays without a copy."""
        items: dict[str, Any] = {"batch_decode": "all", "item_shuffle_window": "full"}  # they match each other
        if self._tokens:
            items = {"item_loader": self._litdata.TokensLoader(block_size=self._tokens)}
        dataset = self._litdata.StreamingDataset(str(self.target), shuffle=True, seed=7, **items)
        dataset.set_epoch(epoch)
        for batch in self._litdata.StreamingDataLoader(
            dataset, batch_size=self.batch_rows, num_workers=self.workers, drop_last=False
        ):
            if self._tokens:
                yield batch.numpy(), None
            else:
                yield batch["x"].numpy(), batch["y"].numpy()

    def write(self, folder: Path, deadline: float) -> int:
        """Write all samples with two processes."""
        x = self.samples.x
        how: dict[str, Any] = {"chunk_bytes": _CHUNK_BYTES}
        if self.samples.y is None:
            how = {"chunk_size": _CHUNK_BYTES // x.itemsize, "item_loader": self._litdata.TokensLoader()}
        blocks = list(range(0, len(x), _BLOCK_ROWS))
        self._litdata.optimize(partial(_samples, self.samples), blocks, str(folder), num_workers=_WRITERS, **how)
        return len(x)


def _samples(samples: SampleFiles, begin: int) -> Iterator[Any]:
    import torch

    x, y = np.array(samples.x[begin : begin + _BLOCK_ROWS]), samples.y
    for number, sample in enumerate(torch.from_numpy(x)):
        yield sample if y is None else {"x": sample, "y": int(y[begin + number])}
