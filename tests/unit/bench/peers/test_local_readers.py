"""Parquet in windows and the mapped file: shuffled epochs with each row once, in batches of the size asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from bench.epochs import Epochs
from bench.peers.memmap import MemmapGather
from bench.peers.parquet_windows import ParquetWindows
from bench.training.samples import SHAPES, make_samples


def parquet(
    samples: str, path: Path, batch_rows: int, *, encoding: str = "binary", group_rows: int = 700, windows: int = 3
) -> ParquetWindows:
    return ParquetWindows(samples, batch_rows, str(path), "gzip", encoding, group_rows, windows)


def correct(reader: Epochs) -> bool:
    facts = reader.check()
    return not (facts["wrong"] or facts["repeated"] or facts["missing"])


@pytest.mark.parametrize("batch_rows", [2, 256, 4096])
@pytest.mark.parametrize("name", SHAPES)
def test_each_row_comes_once_in_both(tmp_path: Path, name: str, batch_rows: int) -> None:
    samples = str(make_samples(name, 1, tmp_path).folder)
    for encoding in ("binary", "lists"):
        path = tmp_path / f"{encoding}.parquet"
        assert correct(parquet(samples, path, batch_rows, encoding=encoding, group_rows=50))
    assert correct(MemmapGather(samples, batch_rows))


def test_all_batches_but_the_last_have_the_size_asked_for(tmp_path: Path) -> None:
    samples = str(make_samples("floats", 1, tmp_path).folder)
    reader = parquet(samples, tmp_path / "x.parquet", 256)
    sizes = [len(x) for x, _ in reader.batches(0)]
    assert set(sizes[:-1]) == {256}
    assert sum(sizes) == reader.rows == 1_000_000 // 260


def test_a_window_is_permuted_and_the_epochs_differ(tmp_path: Path) -> None:
    samples = str(make_samples("floats", 1, tmp_path).folder)
    reader = parquet(samples, tmp_path / "x.parquet", 256, windows=100)
    epochs = [np.concatenate([np.array(y) for _, y in reader.batches(epoch)]) for epoch in range(2)]
    assert not np.array_equal(*epochs)
    assert reader.check()["spread"] > 0.25


def test_the_file_has_the_row_groups_and_the_codec_asked_for(tmp_path: Path) -> None:
    samples, path = str(make_samples("floats", 1, tmp_path).folder), tmp_path / "x.parquet"
    parquet(samples, path, 256)
    group = pq.ParquetFile(path).metadata.row_group(0)
    assert (group.num_rows, group.column(0).compression) == (700, "GZIP")


def test_an_epoch_that_is_left_ends_its_threads(tmp_path: Path) -> None:
    samples = str(make_samples("floats", 1, tmp_path).folder)
    batches = parquet(samples, tmp_path / "x.parquet", 256).batches(0)
    next(batches)
    batches.close()
    assert next(batches, None) is None


def test_lists_have_a_dictionary_and_binary_values_have_none(tmp_path: Path) -> None:
    samples = str(make_samples("floats", 1, tmp_path).folder)
    encodings = {}
    for encoding in ("binary", "lists"):
        path = tmp_path / f"{encoding}.parquet"
        parquet(samples, path, 256, encoding=encoding)
        encodings[encoding] = set(pq.ParquetFile(path).metadata.row_group(0).column(0).encodings)
    assert "RLE_DICTIONARY" in encodings["lists"]
    assert "RLE_DICTIONARY" not in encodings["binary"]
