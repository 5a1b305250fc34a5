"""annbatch: samples as the dense matrix of an AnnData store in zarr, read in column batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bench.epochs import Batches, CopiedEpochs

__all__ = ["PYTHON", "AnnBatchEpochs"]

PYTHON = "3.12"
"""The oldest Python that annbatch installs on."""
_CHUNK_ROWS = 512


class AnnBatchEpochs(CopiedEpochs):
    """Read the copy, a store in zarr. annbatch has threads of its own and advises against workers."""

    def __init__(self, samples: str, target: str, batch_rows: int, window_rows: int) -> None:
        import annbatch
        import anndata
        import zarr

        zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"})  # as its README asks for local files
        self._anndata, self._annbatch, self._zarr = anndata, annbatch, zarr
        super().__init__(samples, target, batch_rows)
        self._preload = max(1, min(window_rows, self.rows) // _CHUNK_ROWS)
        self.configuration = (
            f"{self.copied}, dense X, zarr chunks of {_CHUNK_ROWS} rows, Blosc lz4, the zarrs pipeline",
            f"Loader(batch_size={batch_rows}, chunk_size={_CHUNK_ROWS}, preload_nchunks={self._preload}, shuffle=True)",
        )

    def batches(self, epoch: int) -> Batches:
        """Yield the batches of its loader; samples have one dimension, as X has it."""
        loader = self._annbatch.Loader(
            batch_size=self.batch_rows,
            chunk_size=_CHUNK_ROWS,
            preload_nchunks=self._preload,
            shuffle=True,
            rng=np.random.default_rng([7, epoch]),
        )
        group = self._zarr.open_group(str(self.target), mode="r")
        stored = self._anndata.AnnData(X=group["X"], obs=self._anndata.io.read_elem(group["obs"]))
        labels = self.samples.y is not None
        for batch in loader.add_adatas([stored]):
            yield batch["X"], batch["obs"]["y"].to_numpy() if labels else None

    def write(self, folder: Path, deadline: float) -> int:
        """Write all samples, which takes seconds."""
        import pandas as pd

        x, y = self.samples.x, self.samples.y
        columns: dict[str, Any] = {} if y is None else {"y": np.array(y)}
        obs = pd.DataFrame(columns, index=pd.RangeIndex(len(x)).astype(str))
        whole = self._anndata.AnnData(X=np.array(x).reshape(len(x), -1), obs=obs)
        group = self._zarr.open_group(str(folder), mode="w", zarr_format=3)
        self._annbatch.write_sharded(group, whole, n_obs_per_chunk=_CHUNK_ROWS)
        return len(x)
