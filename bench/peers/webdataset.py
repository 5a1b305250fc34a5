"""WebDataset: samples as files in tar shards, read and shuffled as its README shows."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.epochs import Batches, CopiedEpochs

__all__ = ["WebDatasetEpochs"]

_SHARD_BYTES = 64_000_000
_SHARDS_MIN = 8
_BUFFER_ROWS = 1000


class WebDatasetEpochs(CopiedEpochs):
    """Read the copy in tar shards."""

    def __init__(self, samples: str, target: str, batch_rows: int, workers: int) -> None:
        import webdataset

        self._webdataset = webdataset
        super().__init__(samples, target, batch_rows, workers)
        x = self.samples.x
        self._decode = _Decode(x.dtype, x.shape[1:], self.samples.y is not None)
        self.configuration = (
            f"{self.copied}, tar shards of 64 MB, .bin and .cls members, shardshuffle=100, shuffle({_BUFFER_ROWS})",
            f"map(np.frombuffer), batched({batch_rows}), WebLoader(batch_size=None, num_workers={workers})",
        )

    def batches(self, epoch: int) -> Batches:
        """Yield what the pipeline collates, as NumPy arrays without a copy."""
        shards = sorted(map(str, self.target.glob("*.tar")))
        dataset = (
            self._webdataset.WebDataset(shards, shardshuffle=100, seed=7 + epoch)
            .shuffle(_BUFFER_ROWS)
            .map(self._decode)
            .batched(self.batch_rows)
        )
        for batch in self._webdataset.WebLoader(dataset, batch_size=None, num_workers=self.workers):
            x, *y = map(np.asarray, batch)
            yield x, y[0] if y else None

    def write(self, folder: Path, deadline: float) -> int:
        """Write sample by sample, at least 8 shards."""
        x, y = self.samples.x, self.samples.y
        folder.mkdir()
        pattern, size = str(folder / "shard-%06d.tar"), min(_SHARD_BYTES, x.nbytes // _SHARDS_MIN)
        # A time in whole seconds needs no second header for each member, which would double the time to read it.
        with self._webdataset.ShardWriter(pattern, maxsize=size, mtime=0, verbose=0) as writer:
            for number, row in enumerate(x):
                if time.time() > deadline:
                    return number
                label = {} if y is None else {"y.cls": int(y[number])}
                writer.write({"__key__": f"{number:09d}", "x.bin": row.tobytes(), **label})
        return len(x)


@dataclass(frozen=True)
class _Decode:
    """Turn the members of a sample into arrays; worker processes need it to be picklable."""

    dtype: np.dtype
    shape: tuple[int, ...]
    labels: bool

    def __call__(self, sample: dict[str, bytes]) -> tuple[Any, ...]:
        x = np.frombuffer(sample["x.bin"], self.dtype).reshape(self.shape)
        return (x, int(sample["y.cls"])) if self.labels else (x,)
