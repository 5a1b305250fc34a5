"""One value in Redis for each sample, read by one GET each: the cache of samples that several readers have."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.epochs import Batches, Epochs, SampleFiles

__all__ = ["RedisSampleEpochs"]

_PIPELINE = 1000
_KEYS = "samples"
_COMPLETE = f"{_KEYS}:complete"


class RedisSampleEpochs(Epochs):
    """Read every sample in random order from the Redis at ``path``, a Unix socket; write them first if missing."""

    def __init__(self, samples: str, path: str, batch_rows: int, workers: int) -> None:
        super().__init__(samples, workers)
        import torch.utils.data

        self._data, self._batch_rows = torch.utils.data, batch_rows
        self._dataset = _Samples(path, self.samples)
        self._dataset.write()
        self.configuration = (
            "a value is the bytes of a sample and its label, hiredis, a Unix socket, one GET for each sample",
            f"DataLoader(batches of {batch_rows} random rows, num_workers={workers})",
        )

    def batches(self, epoch: int) -> Batches:
        """Yield the batches that the dataset fills from single values."""
        order = np.random.default_rng([7, epoch]).permutation(len(self.samples.x))
        batches = [order[at : at + self._batch_rows] for at in range(0, len(order), self._batch_rows)]
        yield from self._data.DataLoader(
            self._dataset, batch_size=None, sampler=batches, num_workers=self.workers, collate_fn=_unchanged
        )

    def close(self) -> None:
        """Disconnect; the values stay for the next contestant."""
        self._dataset.disconnect()


class _Samples:
    """A dataset of PyTorch whose items are batches, each filled from single values of Redis."""

    def __init__(self, path: str, samples: SampleFiles) -> None:
        x, y = samples.x, samples.y
        self._path, self._files = path, samples
        self._dtype, self._shape, self._labels = x.dtype, x.shape[1:], y is not None
        self._sample_bytes = x[0].nbytes
        self._redis: Any = None

    def __getitem__(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        redis = self._connection()
        record = self._sample_bytes + (4 if self._labels else 0)
        values = np.empty((len(rows), record), np.uint8)
        for number, row in enumerate(rows.tolist()):
            values[number] = np.frombuffer(redis.get(f"{_KEYS}:{row}"), np.uint8)
        x = np.ascontiguousarray(values[:, : self._sample_bytes]).view(self._dtype).reshape(len(rows), *self._shape)
        if not self._labels:
            return x, None
        return x, np.ascontiguousarray(values[:, self._sample_bytes :]).view(np.int32).reshape(-1)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_redis": None}

    def write(self) -> None:
        """Write each sample as a value, in pipelines of 1,000, unless all are there."""
        redis = self._connection()
        if not redis.exists(_COMPLETE):
            x, y = self._files.x, self._files.y
            for begin in range(0, len(x), _PIPELINE):
                pipeline = redis.pipeline(transaction=False)
                for row in range(begin, min(begin + _PIPELINE, len(x))):
                    pipeline.set(f"{_KEYS}:{row}", x[row].tobytes() + (b"" if y is None else y[row].tobytes()))
                pipeline.execute()
            redis.set(_COMPLETE, len(x))
        self.disconnect()

    def disconnect(self) -> None:
        """Close the connection, which a forked process must not share."""
        if self._redis is not None:
            self._redis.close()
            self._redis = None

    def _connection(self) -> Any:
        if self._redis is None:
            import redis

            self._redis = redis.Redis(unix_socket_path=self._path)
        return self._redis


def _unchanged(batch: Any) -> Any:
    return batch
