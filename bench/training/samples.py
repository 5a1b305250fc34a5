"""The samples of ``bench training``: three shapes of data, made once with a fixed seed and kept.

Each compresses about as real data of its kind does: gzip makes a half to two thirds of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pyarrow as pa

from bench.data import bench_folder

__all__ = ["SHAPES", "Samples", "Shape", "make_samples"]

_SEED = 15
_BLOCK_ROWS = 1 << 14
_BATCH_BYTES = 10_000_000
_QUANTILES = 1 << 16
_VOCABULARY = 32_000

Maker = Callable[[np.random.Generator, int, np.ndarray], np.ndarray]
"""Make the next rows: ``(random, rows, the last row before them)``."""


@dataclass(frozen=True, slots=True)
class Shape:
    """One kind of samples: type and shape of a sample, whether it has a label, and how values are made."""

    name: str
    dtype: np.dtype
    sample: tuple[int, ...]
    labels: bool
    make: Maker

    @property
    def row_bytes(self) -> int:
        """Return the bytes of a sample and its label."""
        return int(np.prod(self.sample)) * self.dtype.itemsize + (4 if self.labels else 0)


@dataclass(frozen=True, slots=True)
class Samples:
    """The files of one shape: ``x.npy``, ``y.npy``, ``marks.npy`` (see ``SampleFiles``) and ``data.arrow``."""

    shape: Shape
    folder: Path
    rows: int

    @property
    def arrow(self) -> Path:
        """Return the Arrow file with the columns ``x`` (a list of fixed size, or a tensor) and ``y``."""
        return self.folder / "data.arrow"


def _floats(random: np.random.Generator, rows: int, last: np.ndarray) -> np.ndarray:
    """Walk in each of the columns, as measurements do; values have two decimals."""
    steps = random.normal(0, 0.08, (rows, *last.shape))
    return np.round(last.astype(np.float64) + np.cumsum(steps, axis=0), 2).astype(np.float32)


def _images(random: np.random.Generator, rows: int, last: np.ndarray) -> np.ndarray:
    """Make noise around grey: no two pixels are related, but values near the middle are frequent."""
    return _of_table(_greys(), random, rows, last)


def _tokens(random: np.random.Generator, rows: int, last: np.ndarray) -> np.ndarray:
    """Make tokens as frequent as words: the frequency falls with the rank."""
    return _of_table(_words(), random, rows, last)


def _of_table(table: np.ndarray, random: np.random.Generator, rows: int, last: np.ndarray) -> np.ndarray:
    """Draw values from a table of quantiles, which is faster than from the distribution itself."""
    values: np.ndarray = table[random.integers(0, len(table), (rows, *last.shape), np.uint16)]
    return values


@cache
def _greys() -> np.ndarray:
    normal = NormalDist(128, 16)
    quantiles = [normal.inv_cdf((i + 0.5) / _QUANTILES) for i in range(_QUANTILES)]
    return np.clip(quantiles, 0, 255).astype(np.uint8)


@cache
def _words() -> np.ndarray:
    frequencies = np.arange(1, _VOCABULARY + 1, dtype=np.float64) ** -1.2
    ends = np.cumsum(frequencies) / frequencies.sum()
    return np.searchsorted(ends, (np.arange(_QUANTILES) + 0.5) / _QUANTILES).astype(np.int32)


SHAPES = {
    shape.name: shape
    for shape in (
        Shape("floats", np.dtype(np.float32), (64,), True, _floats),
        Shape("images", np.dtype(np.uint8), (3, 64, 64), True, _images),
        Shape("tokens", np.dtype(np.int32), (2048,), False, _tokens),
    )
}


def make_samples(name: str, megabytes: int, folder: Path | None = None) -> Samples:
    """Return the samples of a shape, about ``megabytes`` of them; make the files if they are missing."""
    shape = SHAPES[name]
    rows = megabytes * 1_000_000 // shape.row_bytes
    samples = Samples(shape, (folder or bench_folder() / "training") / f"{name}-{megabytes}", rows)
    if not samples.arrow.exists():
        samples.folder.mkdir(parents=True, exist_ok=True)
        x = _write_numpy(samples)
        _write_arrow(samples, x)
    return samples


def _write_numpy(samples: Samples) -> np.ndarray:
    shape, rows = samples.shape, samples.rows
    x = np.lib.format.open_memmap(samples.folder / "x.npy", "w+", shape.dtype, (rows, *shape.sample))
    random, last = np.random.default_rng(_SEED), np.zeros(shape.sample, shape.dtype)
    for begin in range(0, rows, _BLOCK_ROWS):
        block = shape.make(random, min(_BLOCK_ROWS, rows - begin), last)
        last = block[-1]
        x[begin : begin + len(block)] = block
    numbers = np.arange(rows, dtype=np.int32)
    if shape.labels:
        np.save(samples.folder / "y.npy", numbers)
    else:
        x[:, 0] = numbers
    x.flush()
    np.save(samples.folder / "marks.npy", x.reshape(rows, -1)[:, 1].astype(np.float32))
    return x


def _write_arrow(samples: Samples, x: np.ndarray) -> None:
    shape = samples.shape
    values = pa.list_(pa.from_numpy_dtype(shape.dtype), int(np.prod(shape.sample)))
    kind = values if len(shape.sample) == 1 else pa.fixed_shape_tensor(values.value_type, shape.sample)
    schema = pa.schema([pa.field("x", kind)] + ([pa.field("y", pa.int32())] if shape.labels else []))
    batch_rows = max(1, _BATCH_BYTES // shape.row_bytes)
    partial = samples.arrow.with_suffix(".partial")
    with pa.OSFile(str(partial), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for begin in range(0, samples.rows, batch_rows):
            rows = x[begin : begin + batch_rows]
            storage = pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), values.list_size)
            columns = [storage if kind is values else pa.ExtensionArray.from_storage(kind, storage)]
            if shape.labels:
                columns.append(pa.array(np.arange(begin, begin + len(rows), dtype=np.int32)))
            writer.write_batch(pa.record_batch(columns, schema=schema))
    partial.replace(samples.arrow)
