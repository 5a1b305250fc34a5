"""MosaicML Streaming, by its maintained fork: samples in MDS shards, read by its streaming dataset."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from bench.epochs import Batches, CopiedEpochs

__all__ = ["MosaicEpochs"]


class MosaicEpochs(CopiedEpochs):
    """Read the copy in MDS shards."""

    def __init__(self, samples: str, target: str, batch_rows: int, workers: int) -> None:
        import streaming

        self._streaming = streaming
        super().__init__(samples, target, batch_rows, workers)
        self.configuration = (
            f"{self.copied}, MDS shards of 64 MB, uncompressed, ndarray of fixed type and shape",
            f"StreamingDataset(shuffle=True), StreamingDataLoader(batch_size={batch_rows}, num_workers={workers})",
        )

    def batches(self, epoch: int) -> Batches:
        """Yield what the data loader collates, as NumPy arrays without a copy."""
        self._streaming.base.util.clean_stale_shared_memory()  # of a dataset that an earlier process left
        dataset = self._streaming.StreamingDataset(
            local=str(self.target), shuffle=True, shuffle_seed=7 + epoch, batch_size=self.batch_rows
        )
        loader = self._streaming.StreamingDataLoader(dataset, batch_size=self.batch_rows, num_workers=self.workers)
        for batch in loader:
            yield batch["x"].numpy(), batch["y"].numpy() if "y" in batch else None

    def write(self, folder: Path, deadline: float) -> int:
        """Write sample by sample."""
        x, y = self.samples.x, self.samples.y
        columns = {"x": f"ndarray:{x.dtype}:{','.join(map(str, x.shape[1:]))}"}
        if y is not None:
            columns["y"] = "int32"
        with self._streaming.MDSWriter(out=str(folder), columns=columns) as writer:
            for number, row in enumerate(x):
                if time.time() > deadline:
                    return number
                sample: dict[str, Any] = {"x": row}
                writer.write(sample if y is None else {**sample, "y": y[number]})
        return len(x)
