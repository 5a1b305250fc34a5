"""The samples of the training benchmark: fixed, compressible, and the same in NumPy and Arrow."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from bench.epochs import SampleFiles
from bench.options import SHAPE_NAMES
from bench.training.samples import SHAPES, make_samples

ROW_BYTES = {"floats": 260, "images": 12_292, "tokens": 8_192}
RATIOS = {"floats": (1.4, 2.2), "images": (1.2, 1.5), "tokens": (2.0, 4.0)}


def test_the_shapes_are_those_of_the_option() -> None:
    assert tuple(SHAPES) == SHAPE_NAMES
    assert {name: shape.row_bytes for name, shape in SHAPES.items()} == ROW_BYTES


@pytest.mark.parametrize("name", SHAPES)
def test_arrow_and_numpy_hold_the_same_rows(tmp_path: Path, name: str) -> None:
    samples = make_samples(name, 2, tmp_path)
    files = SampleFiles(samples.folder)
    x, y = files.x, files.y
    with pa.memory_map(str(samples.arrow)) as source:
        table = pa.ipc.open_file(source).read_all().combine_chunks()
    assert table.num_rows == len(x) == samples.rows == 2_000_000 // ROW_BYTES[name]
    column = table["x"].chunk(0)
    storage = column.storage if isinstance(column, pa.ExtensionArray) else column
    np.testing.assert_array_equal(storage.flatten().to_numpy().reshape(x.shape), x)
    numbers = x[:, 0] if y is None else y
    np.testing.assert_array_equal(numbers, np.arange(samples.rows))
    if y is not None:
        np.testing.assert_array_equal(table["y"].to_numpy(), y)
    np.testing.assert_array_equal(files.marks, x.reshape(len(x), -1)[:, 1])


@pytest.mark.parametrize("name", SHAPES)
def test_they_compress_about_as_real_data(tmp_path: Path, name: str) -> None:
    raw = SampleFiles(make_samples(name, 4, tmp_path).folder).x.tobytes()
    least, most = RATIOS[name]
    assert least < len(raw) / len(zlib.compress(raw, 1)) < most


def test_they_are_the_same_each_time_and_made_only_once(tmp_path: Path) -> None:
    first, second = (make_samples("floats", 1, tmp_path / name) for name in "ab")
    assert (first.folder / "x.npy").read_bytes() == (second.folder / "x.npy").read_bytes()
    made = first.arrow.stat().st_mtime_ns
    assert make_samples("floats", 1, tmp_path / "a").arrow.stat().st_mtime_ns == made
