"""WebDataset: samples as files in tar shards, read and shuffled as its README shows."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.epochs import Batches, Epochs

__all__ = ["WebDatasetEpochs"]

_SHARD_BYTES = 64_000_000
_BUFFER_ROWS = 1000


class WebDatasetEpochs(Epochs):
    """Read the tar shards below ``target``; write them first if they are missing."""

    def __init__(self, samples: str, target: str, batch_rows: int, workers: int) -> None:
        super().__init__(samples, workers)
        import webdataset  # type: ignore[import-not-found]  # installed for the benchmark alone

        self._webdataset, self._target, self._batch_rows = webdataset, Path(target), batch_rows
        self._decode = _Decode(self.samples.x.dtype, self.samples.x.shape[1:], self.samples.y is not None)
        if not self._target.exists():
            self._write()
        self.configuration = (
            f"tar shards of 64 MB, .bin and .cls members, shardshuffle=100, shuffle({_BUFFER_ROWS}), map(np.frombuffer)",
            f"batched({batch_rows}), WebLoader(batch_size=None, num_workers={workers})",
        )

    def batches(self, epoch: int) -> Batches:
        """Yield what the pipeline collates, as NumPy arrays without a copy."""
        shards = sorted(map(str, self._target.glob("*.tar")))
        dataset = (
            self._webdataset.WebDataset(shards, shardshuffle=100, seed=7 + epoch)
            .shuffle(_BUFFER_ROWS)
            .map(self._decode)
            .batched(self._batch_rows)
        )
        for batch in self._webdataset.WebLoader(dataset, batch_size=None, num_workers=self.workers):
            x, *y = map(np.asarray, batch)
            yield x, y[0] if y else None

    def _write(self) -> None:
        partly = self._target.with_name(f"{self._target.name}-partial")
        shutil.rmtree(partly, ignore_errors=True)
        partly.mkdir(parents=True)
        x, y = self.samples.x, self.samples.y
        pattern = str(partly / "shard-%06d.tar")
        # A time in whole seconds needs no second header for each member, which would double the time to read it.
        with self._webdataset.ShardWriter(pattern, maxsize=_SHARD_BYTES, mtime=0, verbose=0) as writer:
            for number, row in enumerate(x):
                label = {} if y is None else {"y.cls": int(y[number])}
                writer.write({"__key__": f"{number:09d}", "x.bin": row.tobytes(), **label})
        partly.rename(self._target)


@dataclass(frozen=True)
class _Decode:
    """Turn the members of a sample into arrays; worker processes need it to be picklable."""

    dtype: np.dtype
    shape: tuple[int, ...]
    labels: bool

    def __call__(self, sample: dict[str, bytes]) -> tuple[Any, ...]:
        x = np.frombuffer(sample["x.bin"], self.dtype).reshape(self.shape)
        return (x, int(sample["y.cls"])) if self.labels else (x,)
