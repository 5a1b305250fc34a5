"""MosaicML Streaming, by its maintained fork: samples in MDS shards, read by its streaming dataset."""

from __future__ import annotations

import shutil
from pathlib import Path

from bench.epochs import Batches, Epochs

__all__ = ["MosaicEpochs"]


class MosaicEpochs(Epochs):
    """Read the MDS shards below ``target``; write them first if they are missing."""

    def __init__(self, samples: str, target: str, batch_rows: int, workers: int) -> None:
        super().__init__(samples, workers)
        import streaming  # type: ignore[import-not-found]  # installed for the benchmark alone

        self._streaming, self._target, self._batch_rows = streaming, Path(target), batch_rows
        if not self._target.exists():
            self._write()
        self.configuration = (
            "MDS shards of 64 MB, uncompressed, ndarray of fixed type and shape, StreamingDataset(shuffle=True)",
            f"StreamingDataLoader(batch_size={batch_rows}, num_workers={workers})",
        )

    def batches(self, epoch: int) -> Batches:
        """Yield what the data loader collates, as NumPy arrays without a copy."""
        self._streaming.base.util.clean_stale_shared_memory()  # of a dataset that an earlier process left
        dataset = self._streaming.StreamingDataset(
            local=str(self._target), shuffle=True, shuffle_seed=7 + epoch, batch_size=self._batch_rows
        )
        loader = self._streaming.StreamingDataLoader(dataset, batch_size=self._batch_rows, num_workers=self.workers)
        for batch in loader:
            yield batch["x"].numpy(), batch["y"].numpy() if "y" in batch else None

    def _write(self) -> None:
        partly = self._target.with_name(f"{self._target.name}-partial")
        shutil.rmtree(partly, ignore_errors=True)
        x, y = self.samples.x, self.samples.y
        columns = {"x": f"ndarray:{x.dtype}:{','.join(map(str, x.shape[1:]))}"}
        if y is not None:
            columns["y"] = "int32"
        with self._streaming.MDSWriter(out=str(partly), columns=columns) as writer:
            for number, row in enumerate(x):
                writer.write({"x": row} if y is None else {"x": row, "y": y[number]})
        partly.rename(self._target)
