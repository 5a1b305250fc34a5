"""Any sequence of appends with added, missing and wider columns reads as the concatenated tables do."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.api import Store
from millrace.dataset import diff
from millrace.load import LoadOptions
from millrace.settings import load_settings
from millrace.sources import Contract, Reaction
from tests.unit.store.fakes import FakeCassandra

OPTIONS = LoadOptions(mode="append", contract=Contract(types=Reaction.EVOLVE))
NAMES = ("a", "b", "c", "d", "e")
TYPES: dict[str, tuple[pa.DataType, ...]] = {
    "a": (pa.int8(), pa.int32(), pa.int64()),
    "b": (pa.int16(), pa.float64()),
    "c": (pa.string(), pa.large_string()),
    "d": (pa.null(), pa.list_(pa.int32()), pa.list_(pa.int64())),
    "e": (pa.null(), pa.timestamp("ms")),
}
"""The types that each column may have, each one wider than those before it."""


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, unique=True))
    count = draw(st.integers(0, 4))
    return pa.table({name: draw(columns(name, count)) for name in names})


@st.composite
def columns(draw: st.DrawFn, name: str, count: int) -> pa.Array:
    kind = draw(st.sampled_from(TYPES[name]))
    number = st.integers(-5, 5)
    values = {"c": st.text("xy", max_size=2), "d": st.lists(number, max_size=2)}.get(name, number)
    if pa.types.is_null(kind):
        return pa.nulls(count)
    return pa.array(draw(st.lists(st.none() | values, min_size=count, max_size=count)), kind)


def loaded(store: Store, parts: list[pa.Table], folder: str) -> None:
    for number, part in enumerate(parts):
        pq.write_table(part, Path(folder) / f"{number}.parquet")
        store.load("d", str(Path(folder) / f"{number}.parquet"), OPTIONS)


FILTERS = {
    "a": ("a > 0", pc.field("a") > 0),
    "b": ("b <= 1 or b is null", (pc.field("b") <= 1) | pc.field("b").is_null()),
    "c": ("c in ('x', 'xy')", pc.is_in(pc.field("c"), pa.array(["x", "xy"], pa.large_string()))),
    "d": ("d is not null", pc.field("d").is_valid()),
    "e": ("e is null", pc.field("e").is_null()),
}


@pytest.fixture(scope="module", autouse=True)
def _settings(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("MILLRACE_HOME", str(tmp_path_factory.mktemp("home")))
        patched.setenv("MILLRACE_CONFIG", "")
        yield


@settings(max_examples=40, deadline=None)
@given(st.lists(tables(), min_size=1, max_size=4))
def test_appends_read_as_the_concatenated_tables_and_filters_find_the_same_rows(parts: list[pa.Table]) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        Store(FakeCassandra(), load_settings(redis={"url": ""}, cassandra={"keyspace": "ks"})) as store,
    ):
        loaded(store, parts, folder)
        dataset = store.dataset("d")
        expected = pa.concat_tables(parts, promote_options="permissive").cast(dataset.schema)
        assert dataset.to_table().equals(expected)
        assert store.verify("d").ok
        for name in dataset.schema.names:
            assert dataset.to_table([name]).equals(expected.select([name]))
            text, expression = FILTERS[name]
            if pa.types.is_null(dataset.schema.field(name).type) and name != "e":
                continue
            passing = expected.filter(expression)
            assert dataset.to_table(filter=text).equals(passing)
            assert dataset.count_rows(text) == passing.num_rows
            assert (
                dataset.to_table(["a"] if "a" in expected.column_names else [name], text).num_rows == passing.num_rows
            )


def test_many_evolving_pages_are_listed_with_statistics_of_all_columns(store: Store, tmp_path: Path) -> None:
    parts = [pa.table({"n": [number], **({"m": [number * 2]} if number > 5 else {})}) for number in range(12)]
    loaded(store, parts, str(tmp_path))
    dataset = store.dataset("d")
    assert len(store.catalogue.pages.lists(dataset.version)[0]) == 1
    assert dataset.to_table(filter="m = 14")["n"].to_pylist() == [7]
    assert dataset.stats.to_json()["cassandra"] == 1
    assert dataset.count_rows("m is null") == 6
    assert dataset.stats.to_json()["cassandra"] == 0


def test_older_chunks_are_not_fetched_for_a_column_that_they_lack(store: Store, tmp_path: Path) -> None:
    loaded(store, [pa.table({"n": [1, 2]}), pa.table({"n": [3], "m": [4]})], str(tmp_path))
    dataset = store.dataset("d")
    assert dataset.to_table(["m"])["m"].to_pylist() == [None, None, 4]
    assert dataset.stats.to_json()["cassandra"] == 1
    assert dataset.head(2, ["m"])["m"].to_pylist() == [None, None]


def test_versions_share_the_older_chunks(store: Store, tmp_path: Path) -> None:
    loaded(store, [pa.table({"n": [1, 2]}), pa.table({"n": [3], "m": [4]})], str(tmp_path))
    old, new = (store.dataset(version.reference) for version in sorted(store.versions("d"), key=lambda v: v.number))
    report = diff(old, new)
    assert (report.common_chunks, report.only_b_chunks, report.added_columns) == (1, 1, ("m",))


def test_a_dataset_may_get_columns_until_its_chunks_have_128_tiles(store: Store, tmp_path: Path) -> None:
    wide = pa.table({f"c{number}": np.zeros(1) for number in range(200)})
    loaded(store, [wide], str(tmp_path))
    assert len(store.version("d").layout.columns) == 64
    more = pa.table({f"x{number}": [1] for number in range(200)})
    pq.write_table(more, tmp_path / "more.parquet")
    store.load("d", str(tmp_path / "more.parquet"), OPTIONS)
    assert len(store.version("d").layout.columns) == 128
    assert store.dataset("d").to_table(["c7", "x199"]).to_pylist() == [
        {"c7": 0.0, "x199": None},
        {"c7": None, "x199": 1},
    ]
    pq.write_table(pa.table({"y": [1]}), tmp_path / "last.parquet")
    with pytest.raises(Exception, match="at most 128 tiles"):
        store.load("d", str(tmp_path / "last.parquet"), OPTIONS)
