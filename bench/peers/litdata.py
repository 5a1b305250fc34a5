"""LitData: samples in chunks of 64 MB, optimized as its README recommends, read by its streaming data loader."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench.epochs import Batches, Epochs, SampleFiles

__all__ = ["LitDataEpochs"]

_WRITERS = 2
_BLOCK_ROWS = 4096


class LitDataEpochs(Epochs):
    """Read the optimized samples below ``target``; write them first if they are missing.

    Tokens are stored without headers and read as blocks, by ``TokensLoader``. Other samples are dictionaries of a
    tensor and a number.
    """

    def __init__(self, samples: str, target: str, batch_rows: int, workers: int) -> None:
        super().__init__(samples, workers)
        import litdata  # type: ignore[import-not-found]  # installed for the benchmark alone

        self._litdata, self._target, self._batch_rows = litdata, Path(target), batch_rows
        self._block = None if self.samples.y is not None else self.samples.x.shape[1]
        if not self._target.exists():
            self._write()
        items = f"TokensLoader({self._block})" if self._block else "batch_decode=all, item_shuffle_window=full"
        self.configuration = (
            f"optimize(chunk_bytes=64MB), uncompressed, StreamingDataset(shuffle=True), {items}",
            f"StreamingDataLoader(batch_size={batch_rows}, num_workers={workers})",
        )

    def batches(self, epoch: int) -> Batches:
        """Yield what the data loader collates, as NumPy arrays without a copy."""
        dataset = self._litdata.StreamingDataset(str(self._target), shuffle=True, seed=7, **self._items())
        dataset.set_epoch(epoch)
        loader = self._litdata.StreamingDataLoader(dataset, batch_size=self._batch_rows, num_workers=self.workers)
        for batch in loader:
            if self._block:
                yield batch.numpy(), None
            else:
                yield batch["x"].numpy(), batch["y"].numpy()

    def _items(self) -> dict[str, Any]:
        """Return how items are read: decoded chunk by chunk, with the shuffle of a whole chunk that matches it."""
        if self._block:
            return {"item_loader": self._litdata.TokensLoader(block_size=self._block)}
        return {"batch_decode": "all", "item_shuffle_window": "full"}

    def _write(self) -> None:
        partly = self._target.with_name(f"{self._target.name}-partial")
        shutil.rmtree(partly, ignore_errors=True)
        rows = len(self.samples.x)
        how: dict[str, Any] = {"chunk_bytes": "64MB"}
        if self._block:
            how = {"chunk_size": self._block * (64_000_000 // (4 * self._block)), "item_loader": self._litdata.TokensLoader()}
        self._litdata.optimize(
            fn=partial(_samples, self.samples),
            inputs=list(range(0, rows, _BLOCK_ROWS)),
            output_dir=str(partly),
            num_workers=_WRITERS,
            **how,
        )
        partly.rename(self._target)


def _samples(samples: SampleFiles, begin: int) -> Any:
    import torch  # type: ignore[import-not-found]

    x, y = samples.x[begin : begin + _BLOCK_ROWS], samples.y
    for number, row in enumerate(np.ascontiguousarray(x)):
        sample = torch.from_numpy(row)
        yield sample if y is None else {"x": sample, "y": int(y[begin + number])}
