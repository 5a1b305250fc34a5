"""A version with matrices, splits and a recipe is read as one without, and given to training as matrices."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from millrace.api import Store
from millrace.arrow import stored_dtype
from millrace.chunks import TileLayout
from millrace.dataset import RECIPE_KEY, diff, export, recipe_of
from millrace.errors import ChunkFormatError, UsageError, VersionNotFoundError
from millrace.settings import Settings
from tests.prepared_version import (
    CATEGORIES,
    DOUBLES,
    FEATURES,
    FLAGS,
    FLOATS,
    Published,
    publish_prepared,
    recipe_for,
    training_rows,
)
from tests.unit.store.fakes import FakeCassandra
from tests.unit.store.in_memory import cassandra, csv, settings, store

__all__ = ["cassandra", "csv", "settings", "store"]
ROWS = 3000
FILTERS = ["temp > 50", "temp is null", "carrier in (1, 2) and lat < 40", "id >= 2900", "target and distance < 100"]


@pytest.fixture
def table() -> pa.Table:
    return training_rows(ROWS)


@pytest.fixture
def made(store: Store, tmp_path: Path, table: pa.Table) -> Published:
    return publish_prepared(store, "late", table, tmp_path, recipe=recipe_for(table))


@pytest.fixture
def plain(store: Store, tmp_path: Path, table: pa.Table) -> Published:
    """Return the same rows without matrices and recipe."""
    return publish_prepared(store, "plain", table, tmp_path, layout=TileLayout.for_schema(table.schema))


# --- the stored version


def test_the_version_records_its_matrices_and_format_3(made: Published, plain: Published) -> None:
    version = made.dataset.version
    assert version.format_number == 3
    assert {tuple(FEATURES.index(name) for name in names) for names in (FLOATS, DOUBLES, CATEGORIES)} == {
        tuple(column - 3 for column in version.layout.columns[tile]) for tile in version.layout.matrices
    }
    assert "matrices" not in plain.dataset.version.settings
    assert version.chunks == plain.dataset.version.chunks > 5


def test_a_reader_of_an_older_format_refuses_it(
    cassandra: FakeCassandra, settings: Settings, made: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("millrace.store.catalogue.version_rows.FORMAT_NUMBER", 2)
    with (
        Store(cassandra, settings) as older,
        pytest.raises(ChunkFormatError, match="has format 3, this"),
    ):
        older.dataset(made.dataset.version.reference)


def test_statistics_are_those_of_the_single_columns(made: Published, plain: Published) -> None:
    pages = [list(each.dataset.known_pages()) for each in (made, plain)]
    for with_matrices, without in zip(*pages, strict=True):
        assert with_matrices.stats_batch().equals(without.stats_batch())
        assert with_matrices.row_counts() == without.row_counts()


# --- reads


def test_all_rows_are_read_as_without_matrices(made: Published, plain: Published, table: pa.Table) -> None:
    for each in (made.dataset, plain.dataset):
        assert each.to_table().equals(table)
        assert each.head(7).equals(table.slice(0, 7))
        assert pa.table(each).equals(table)
        assert each.count_rows() == ROWS
    assert diff(made.dataset, plain.dataset).retyped_columns == ()


@hypothesis_settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_columns_and_filter_give_the_same_rows(made: Published, plain: Published, data: Any) -> None:
    names = data.draw(st.none() | st.lists(st.sampled_from(plain.dataset.schema.names), unique=True))
    condition = data.draw(st.none() | st.sampled_from(FILTERS))
    split = data.draw(st.sampled_from([None, "train", "val", "test"]))
    found, expected = (each.dataset.to_table(names, condition, split=split) for each in (made, plain))
    assert found.num_rows == expected.num_rows
    assert found.equals(expected)
    assert found.schema.equals(expected.schema, check_metadata=True)
    rows = data.draw(st.integers(0, 700))
    heads = [each.dataset.head(rows, names, condition, split=split) for each in (made, plain)]
    assert heads[0].equals(heads[1])
    assert heads[0].equals(expected.slice(0, rows)) or not expected.num_columns


def test_a_split_is_read_alone(made: Published, cassandra: FakeCassandra) -> None:
    for split, rows in made.splits.items():
        assert made.dataset.to_table(split=split).equals(rows)
        assert pa.Table.from_batches(made.dataset.to_batches(split=split)).equals(rows)
        assert made.dataset.count_rows(split=split) == rows.num_rows
        assert made.dataset.count_rows("wet", split=split) == pc.sum(rows["wet"]).as_py()
        assert made.dataset.head(3, split=split).equals(rows.slice(0, 3))
    made.dataset.to_table(split="val")
    assert made.dataset.stats.to_json()["cassandra"] == len(made.dataset.splits["val"])


def test_an_unknown_split_is_refused_with_the_nearest(made: Published) -> None:
    for read in (made.dataset.to_table, made.dataset.to_batches, made.dataset.head, made.dataset.count_rows):
        with pytest.raises(UsageError, match=r"late@1-.* has no split 'tran': did you mean 'train'"):
            read(split="tran")  # type: ignore[operator]


def test_a_read_of_one_column_fetches_one_tile(made: Published) -> None:
    dataset = made.dataset
    dataset.to_table(["wind"])
    tile = dataset.version.layout.tiles_of([dataset.schema.get_field_index("wind")])
    assert dataset.stats.to_json()["stored_bytes"] == sum(
        ref.tiles[number].stored_bytes for ref in dataset.refs() for number in tile
    )


def test_verify_finds_every_copy_good(store: Store, made: Published) -> None:
    report = store.verify(made.dataset.version.reference, each_replica=True)
    assert (report.ok, report.rows) == (True, ROWS)


# --- the recipe


def test_the_dataset_has_the_recipe_and_batches_do_not(made: Published, plain: Published, table: pa.Table) -> None:
    dataset = made.dataset
    assert dataset.recipe == recipe_for(table)
    assert plain.dataset.recipe is None
    assert list(dataset.splits) == ["train", "val", "test"]
    read = [
        dataset.to_table().schema,
        next(dataset.to_batches()).schema,
        dataset.head().schema,
        pa.table(dataset).schema,
    ]
    assert [RECIPE_KEY in (schema.metadata or {}) for schema in read] == [False] * 4
    assert all(b"millrace.splits" in schema.metadata for schema in read)


@pytest.mark.parametrize("format_", ["parquet", "arrow", "arrows"])
def test_an_export_carries_the_recipe(made: Published, table: pa.Table, tmp_path: Path, format_: str) -> None:
    path = tmp_path / f"out.{format_}"
    export(made.dataset.to_batches(), made.dataset.schema, str(path), format_)
    if format_ == "parquet":
        schema = pq.read_schema(path)
    else:
        schema = (pa.ipc.open_file if format_ == "arrow" else pa.ipc.open_stream)(path.read_bytes()).schema
    assert recipe_of(schema) == recipe_for(table)


# --- training


def epoch(made: Published, **options: Any) -> dict[str, Any]:
    """Return the arrays of one epoch of ``train`` in stored order of the lanes."""
    given = {"global_batch_rows": 64, "lanes": 1, "shuffle": "none", "tail": "uneven", "split": "train"}
    with made.dataset.training(**{**given, **options}) as loader:
        batches = [{name: np.array(values) for name, values in batch.items()} for batch in loader]
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def expected(rows: pa.Table, name: str, fill: Any = None) -> Any:
    column = rows[name].combine_chunks()
    return (column if fill is None else column.fill_null(fill)).to_numpy(zero_copy_only=False)


def test_a_batch_has_the_features_as_matrices_the_tensors_and_the_target(made: Published) -> None:
    batch, rows = epoch(made), made.splits["train"]
    assert {name: (values.dtype.name, values.shape[1:]) for name, values in batch.items()} == {
        "features": ("float32", (3,)),
        "features_float64": ("float64", (2,)),
        "features_uint16": ("uint16", (2,)),
        "features_int32": ("int32", (1,)),
        "features_bool": ("bool", (2,)),
        "curve": ("float32", (3,)),
        "target": ("bool", ()),
    }
    temp = np.float32(50.5)
    np.testing.assert_array_equal(batch["features"][:, 0], expected(rows, "temp", temp))
    np.testing.assert_array_equal(batch["features"][:, 1], expected(rows, "wind"))
    np.testing.assert_array_equal(batch["features"][:, 2], expected(rows, "visib"))
    assert np.isnan(batch["features"][:, 2]).any()
    for name, columns, fill in (
        ("features_float64", DOUBLES, None), ("features_uint16", CATEGORIES, 0), ("features_bool", FLAGS, None)
    ):  # fmt: skip
        for position, column in enumerate(columns):
            np.testing.assert_array_equal(batch[name][:, position], expected(rows, column, fill))
    np.testing.assert_array_equal(batch["features_int32"][:, 0], expected(rows, "distance"))
    np.testing.assert_array_equal(batch["target"], expected(rows, "target"))
    curve = rows["curve"].combine_chunks()
    np.testing.assert_array_equal(batch["curve"], curve.flatten().to_numpy().reshape(-1, 3))


@pytest.mark.parametrize("names", [["temp"], ["lon", "id", "temp", "carrier"], ["origin", "wind", "visib", "target"]])
def test_named_columns_are_arrays_of_their_own(made: Published, names: list[str]) -> None:
    batch, rows = epoch(made, columns=names), made.splits["train"]
    assert list(batch) == names
    fills = {"temp": np.float32(50.5), "carrier": 0, "origin": 0}
    for name in names:
        assert batch[name].dtype == stored_dtype(rows.schema.field(name).type)
        np.testing.assert_array_equal(batch[name], expected(rows, name, fills.get(name)))


def test_shuffled_batches_have_whole_rows(made: Published) -> None:
    options = {"shuffle": "window", "lanes": 8, "tail": "drop_last", "global_batch_rows": 64}
    batch = epoch(made, **options)
    by_id = epoch(made, columns=["id", *FLOATS], **options)
    for position, name in enumerate(FLOATS):
        np.testing.assert_array_equal(batch["features"][:, position], by_id[name])
    assert len(set(by_id["id"])) == len(by_id["id"])
    assert by_id["id"].tolist() != sorted(by_id["id"])


def test_only_the_needed_tiles_are_fetched(made: Published) -> None:
    layout, schema = made.dataset.version.layout, made.dataset.schema
    refs = [ref for at, ref in enumerate(made.dataset.refs()) if at in made.dataset.splits["train"]]
    for options in ({"columns": ["wind", "target"]}, {}):
        names: Any = options.get("columns") or [*FEATURES, "curve", "target"]
        tiles = layout.tiles_of([schema.get_field_index(name) for name in names])
        epoch(made, **options)
        fetched = made.dataset.stats.to_json()["stored_bytes"]
        sizes = [sum(ref.tiles[tile].stored_bytes for tile in tiles) for ref in refs]
        assert sum(sizes) <= fetched  # and of chunks of the next epoch, which is read ahead
        assert fetched in {sum(sizes) + sum(more) for count in range(9) for more in combinations(sizes, count)}


def test_the_callers_nulls_replace_the_rule_of_their_column_only(made: Published) -> None:
    rows = made.splits["train"]
    batch = epoch(made, nulls={"visib": -1, "carrier": 7})
    np.testing.assert_array_equal(batch["features"][:, 0], expected(rows, "temp", np.float32(50.5)))
    np.testing.assert_array_equal(batch["features"][:, 2], expected(rows, "visib", -1))
    np.testing.assert_array_equal(batch["features_uint16"][:, 0], expected(rows, "carrier", 7))
    with pytest.raises(UsageError, match="nulls= names a column that is not read: 'day'"):
        epoch(made, nulls={"day": "x"})


def test_normalize_by_the_recipe_leaves_categories_and_makes_floats(made: Published, table: pa.Table) -> None:
    batch, rows, known = epoch(made, normalize="recipe"), made.splits["train"], recipe_for(table).statistics
    assert {name: values.dtype.name for name, values in batch.items()} == {
        "features": "float32", "features_float64": "float64", "features_uint16": "uint16",
        "features_int32": "float32", "features_bool": "float32", "curve": "float32", "target": "bool",
    }  # fmt: skip
    wind = (expected(rows, "wind").astype(float) - known["wind"]["mean"]) / known["wind"]["std"]
    np.testing.assert_array_equal(batch["features"][:, 1], wind.astype(np.float32))
    temp = (expected(rows, "temp", np.float32(50.5)).astype(float) - known["temp"]["mean"]) / known["temp"]["std"]
    np.testing.assert_array_equal(batch["features"][:, 0], temp.astype(np.float32))
    assert known["lon"]["std"] == 0
    np.testing.assert_array_equal(batch["features_float64"][:, 1], expected(rows, "lon") - known["lon"]["mean"])
    alone = epoch(made, normalize="recipe", columns=["wind", "carrier"])
    np.testing.assert_array_equal(alone["wind"], batch["features"][:, 1])
    assert alone["carrier"].dtype == np.uint16


def test_normalize_by_the_caller_changes_the_named_columns_of_a_matrix(made: Published) -> None:
    batch, plain = epoch(made, normalize={"wind": (10, 5)}), epoch(made)
    np.testing.assert_array_equal(batch["features"][:, [0, 2]], plain["features"][:, [0, 2]])
    wind = (plain["features"][:, 1].astype(float) - 10) / 5
    np.testing.assert_array_equal(batch["features"][:, 1], wind.astype(np.float32))


def test_normalize_by_a_recipe_needs_one(plain: Published, made: Published) -> None:
    for each, text in ((plain, "recipe"), (made, "recpie")):
        with pytest.raises(UsageError, match=f"normalize='{text}' is not possible.*a version of training data"):
            each.dataset.training(global_batch_rows=64, split="train", normalize=text, format="arrow")


def test_nulls_of_a_whole_number_without_a_rule_are_refused_by_name(store: Store, tmp_path: Path) -> None:
    table = training_rows(500)
    recipe = recipe_for(table, categories={"origin": ("EWR",)})
    made = publish_prepared(store, "late", table, tmp_path, recipe=recipe)
    with pytest.raises(UsageError, match=r"column 'carrier' of type uint16 holds [0-9]+ nulls"):
        epoch(made)
    assert len(epoch(made, nulls={"carrier": 0})["target"])


def test_arrow_batches_have_lists_of_a_fixed_size(made: Published) -> None:
    arrays = epoch(made)
    options: Any = {"global_batch_rows": 64, "lanes": 1, "shuffle": "none", "tail": "uneven", "split": "train"}
    with made.dataset.training(format="arrow", **options) as loader:
        found = pa.Table.from_batches(list(loader))
    assert found.schema.field("features").type == pa.list_(pa.float32(), 3)
    for name in ("features", "features_uint16"):
        values = found[name].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        np.testing.assert_array_equal(values.reshape(arrays[name].shape), arrays[name])
    with made.dataset.training(format="arrow", columns=["visib", "day", "temp"], **options) as loader:
        found = pa.Table.from_batches(list(loader))
    rows = made.splits["train"]
    assert found["visib"].equals(rows["visib"])
    assert found["day"].equals(rows["day"])
    assert found["temp"].to_pylist() == rows["temp"].fill_null(np.float32(50.5)).to_pylist()


def test_a_version_with_matrices_and_no_recipe_gives_single_columns(
    store: Store, tmp_path: Path, table: pa.Table
) -> None:
    made = publish_prepared(store, "bare", table, tmp_path)
    batch = epoch(made, columns=["wind", "lat", "id"])
    for name in batch:
        np.testing.assert_array_equal(batch[name], expected(made.splits["train"], name))


def test_a_recipe_without_matrices_gives_the_same_batches(
    store: Store, made: Published, tmp_path: Path, table: pa.Table
) -> None:
    layout = TileLayout.for_schema(table.schema)
    other = publish_prepared(store, "other", table, tmp_path, recipe=recipe_for(table), layout=layout)
    for options in ({}, {"normalize": "recipe"}):
        batches = [epoch(each, **options) for each in (made, other)]
        assert list(batches[0]) == list(batches[1])
        for name, values in batches[0].items():
            np.testing.assert_array_equal(values, batches[1][name])


def test_a_kept_decoded_chunk_gives_the_same_epoch(made: Published) -> None:
    options: Any = {"global_batch_rows": 64, "split": "train", "tail": "uneven", "cache_bytes": 10_000_000}
    with made.dataset.training(**options) as loader:
        epochs = [np.concatenate([np.array(batch["features"]) for batch in loader]) for _ in range(2)]
        assert loader.facts().tiers["process"] > 0
    np.testing.assert_array_equal(*(np.sort(each, axis=0) for each in epochs))


def test_the_least_prefetch_bytes_work_and_one_less_is_refused(made: Published) -> None:
    options: Any = {"global_batch_rows": 64, "split": "train"}
    with pytest.raises(UsageError, match="too small for one window") as refused:
        made.dataset.training(prefetch_bytes=1, **options)
    least = refused.value.context["expected"]
    with made.dataset.training(prefetch_bytes=least, **options) as loader, made.dataset.training(**options) as plain:
        assert loader.prefetch_bytes == least
        for small, large in zip(loader, plain, strict=True):
            np.testing.assert_array_equal(small["features"], large["features"])
    row_bytes = 3 * 4 + 2 * 8 + 2 * 2 + 4 + 2 + 3 * 4 + 1
    assert least > made.splits["train"].num_rows // 8 * row_bytes


def test_plan_epoch_counts_the_tiles_that_batches_need(store: Store, made: Published) -> None:
    cost = store.plan_epoch(made.dataset.version.reference, split="train", global_batch_rows=64)
    named = store.plan_epoch(made.dataset.version.reference, split="train", global_batch_rows=64, columns=["wind"])
    assert cost.rows == named.rows == made.splits["train"].num_rows
    assert 0 < named.cassandra_bytes < cost.cassandra_bytes


def test_a_state_resumes_the_batches_of_matrices(store: Store, made: Published) -> None:
    with made.dataset.training(global_batch_rows=64, split="train") as loader:
        batches = iter(loader)
        for _ in range(3):
            next(batches)
        state = json.loads(json.dumps(loader.state_dict()))
        rest = [np.array(batch["features"]) for batch in batches]
    with store.resume(state, global_batch_rows=64) as resumed:
        for found, batch in zip(rest, resumed, strict=True):
            np.testing.assert_array_equal(found, batch["features"])
    with pytest.raises(VersionNotFoundError):
        store.dataset("late@2")


def test_a_target_of_text_is_the_position_of_its_class(store: Store, tmp_path: Path) -> None:
    table = training_rows(600)
    text = [("early", "late", "never")[number % 3] for number in range(600)]
    table = table.set_column(table.schema.get_field_index("target"), "target", pa.array(text))
    made = publish_prepared(store, "late", table, tmp_path, recipe=recipe_for(table, classes=("early", "late")))
    expected = {"early": 0, "late": 1, "never": -1}
    for options in ({}, {"normalize": "recipe"}):
        target = epoch(made, **options)["target"]
        assert target.dtype == np.int64
        assert target.tolist() == [expected[value] for value in made.splits["train"]["target"].to_pylist()]
    with pytest.raises(UsageError, match="cannot hold column 'target' of type string"):
        epoch(made, columns=["target"])
    options: Any = {"global_batch_rows": 64, "lanes": 1, "shuffle": "none", "tail": "uneven", "split": "train"}
    with made.dataset.training(format="arrow", **options) as loader:
        found = pa.Table.from_batches(list(loader))
    assert found["target"].to_pylist() == made.splits["train"]["target"].to_pylist()


@pytest.mark.parametrize("keeps_matrices", [True, False])
def test_the_bytes_in_flight_hold_a_chunk_with_its_copies(made: Published, keeps_matrices: bool) -> None:
    source = made.dataset.chunk_source(list(FEATURES), keeps_matrices=keeps_matrices)
    for ref in made.dataset.refs():
        with source.borrow(ref) as batch:
            raw = sum(ref.tiles[tile].raw_bytes for tile in source.decoder.tiles_of(ref))
            copied = 0 if keeps_matrices else sum(batch[name].nbytes for name in (*FLOATS, *DOUBLES, *CATEGORIES))
            bitmaps = batch.num_columns * (batch.num_rows // 8 + 1)
            assert raw + copied - bitmaps <= source.bytes_in_flight(ref) <= 4 * (raw + copied)


def test_training_does_not_take_matrices_apart(made: Published, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("millrace.chunks.encode.columns_of", None)
    assert epoch(made)["features"].shape == (made.splits["train"].num_rows, 3)
    assert list(epoch(made, columns=["wind", "temp"])) == ["wind", "temp"]


@pytest.mark.parametrize("keeps_matrices", [True, False])
def test_the_raw_form_of_a_chunk_decodes_to_the_same_rows(store: Store, made: Published, keeps_matrices: bool) -> None:
    decoder = made.dataset.chunk_source(["wind", "id", *CATEGORIES], keeps_matrices=keeps_matrices).decoder
    for ref in made.dataset.refs():
        tiles = decoder.tiles_of(ref)
        stored = store.chunk_reader.fetch(ref, tiles)
        raw = [ref.tiles[tile].inflate(data, {"tile": tile}) for tile, data in zip(tiles, stored, strict=True)]
        rows = decoder.decode(ref, stored, None)
        assert rows.equals(decoder.decode(ref, raw, None, is_raw=True))
        assert rows.num_columns == (3 if keeps_matrices else 4)


def test_a_damaged_copy_is_found_and_repaired(store: Store, made: Published, cassandra: FakeCassandra) -> None:
    key = next(iter(cassandra.b.rows["chunks"]))
    del cassandra.b.rows["chunks"][key]
    reference = made.dataset.version.reference
    assert not store.verify(reference, each_replica=True).ok
    store.repair("late")
    assert store.verify(reference, each_replica=True).ok
