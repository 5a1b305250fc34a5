"""The files of a model: equal arguments give equal bytes, and the files are read back from a version."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from millrace.errors import UsageError
from millrace.training.models import files_of, pack_arrays, unpack_arrays, write_files
from tests.unit.training.models.small import small_recipe


def test_the_recipe_the_metrics_and_a_table_of_them_are_added() -> None:
    files = files_of({"weights.npz": b"1", "a.txt": b"2"}, small_recipe(), {"val_auc": 0.75, "loss": 0.5}, "")
    assert list(files) == ["a.txt", "metrics.json", "recipe.json", "report.md", "weights.npz"]
    assert json.loads(files["metrics.json"]) == {"loss": 0.5, "val_auc": 0.75}
    assert json.loads(files["recipe.json"])["categories"] == {"carrier": ["AA", "UA"]}
    assert files["report.md"].decode() == "| metric | value |\n|---|---|\n| loss | 0.5 |\n| val_auc | 0.75 |\n"


def test_the_recipe_keeps_the_order_of_its_splits() -> None:
    recipe = replace(small_recipe(), splits={"train": {"rows": 1}, "val": {"rows": 2}, "test": {"rows": 3}})
    assert list(json.loads(files_of({}, recipe, {}, "")["recipe.json"])["splits"]) == ["train", "val", "test"]


def test_the_report_of_the_function_is_kept() -> None:
    assert files_of({"w": b""}, small_recipe(), {}, "# Mine\n")["report.md"] == b"# Mine\n"


def test_written_files_have_one_time(tmp_path: Path) -> None:
    write_files({"b.bin": b"2", "folder/a.bin": b"1"}, tmp_path)
    assert (tmp_path / "folder" / "a.bin").read_bytes() == b"1"
    assert {path.stat().st_mtime for path in (tmp_path / "b.bin", tmp_path / "folder" / "a.bin")} == {315532800}


def test_arrays_are_packed_to_equal_bytes_in_any_order_and_read_by_numpy(tmp_path: Path) -> None:
    arrays = {"weights": np.arange(6.0).reshape(2, 3), "names": np.array(["a", "bc"]), "one": np.array(3)}
    packed = pack_arrays(arrays)
    assert packed == pack_arrays(dict(reversed(arrays.items())))
    path = tmp_path / "weights.npz"
    path.write_bytes(packed)
    with np.load(path, allow_pickle=False) as loaded:
        assert sorted(loaded.files) == sorted(arrays)
    for name, array in unpack_arrays(packed).items():
        np.testing.assert_array_equal(array, arrays[name])
        assert array.dtype == arrays[name].dtype


def test_an_array_of_objects_is_refused() -> None:
    with pytest.raises(UsageError, match="the array 'names' holds Python objects"):
        pack_arrays({"names": np.array(["a", None], dtype=object)})


@pytest.mark.parametrize("data", [b"", b"no zip", pack_arrays({"a": np.zeros(3)})[:40]])
def test_other_bytes_are_no_arrays(data: Any) -> None:
    with pytest.raises(UsageError, match=r"the weights are not an \.npz file of plain arrays"):
        unpack_arrays(data)
