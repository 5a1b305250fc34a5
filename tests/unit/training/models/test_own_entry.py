"""An entry that was written from the pages of documentation alone: prepared, read, trained, scored and shown."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from millrace.api import Store
from millrace.api.store_dataset import Dataset
from millrace.cli.app import run
from millrace.load import LoadOptions
from tests.unit.store.in_memory import cassandra, settings, store
from tests.unit.training.models.own_entry.shop import ORDERS, customers, orders, prices

__all__ = ["cassandra", "settings", "store"]

FOLDER = Path(__file__).parent / "own_entry"
FILE = FOLDER / "training.yaml"
SEED, WEIGHTS = 3, {"train": 0.6, "val": 0.2, "test": 0.2}
Rows = list[dict[str, Any]]


@pytest.fixture
def shop(store: Store) -> Store:
    for name, table in (("orders", orders()), ("customers", customers()), ("prices", prices())):
        store.load(name, table)
    return store


@pytest.fixture
def returns(shop: Store) -> Dataset:
    shop.prepare("returns", file=FILE)
    return shop.dataset("returns")


def expected_rows() -> Rows:
    """Return the rows of the query by plain Python; the price is the last one until the order."""
    of_customer = {row["customer"]: row for row in customers().to_pylist()}
    changes = prices().to_pylist()
    rows = []
    for order in orders().to_pylist():
        known = [each for each in changes if each["product"] == order["product"] and each["since"] <= order["ordered"]]
        customer = of_customer[order["customer"]]
        price = max(known, key=lambda each: each["since"])["price"] if known else None
        size = [customer[f"size_{axis}"] for axis in "xyz"]
        rows.append({**order, "price": price, "age": customer["age"], "size": size})
    return rows


def split_of(customer: int) -> str:
    """Compute the split as the page describes it for another program."""
    number = int(hashlib.md5(f"{customer}|split/{SEED}".encode()).hexdigest()[:13], 16) / 16**13
    total = 0.0
    for name, weight in WEIGHTS.items():
        total += weight
        if number < total:
            return name
    return name


def stored_rows(returns: Dataset) -> dict[str, Rows]:
    return {split: returns.to_table(split=split).to_pylist() for split in WEIGHTS}


def test_each_order_is_in_the_split_of_its_customer_with_the_price_of_its_time(returns: Dataset) -> None:
    expected = {row["id"]: row for row in expected_rows() if row["weight"] is not None}
    assert returns.recipe is not None
    channels = returns.recipe.categories["channel"]
    stored = stored_rows(returns)
    assert sum(map(len, stored.values())) == len(expected) == returns.count_rows() < ORDERS
    for split, rows in stored.items():
        for row in rows:
            order = expected[row["id"]]
            assert split_of(row["customer"]) == split
            assert (row["customer"], row["target"]) == (order["customer"], order["returned"])
            assert channels[row["channel"] - 1] == order["channel"]
            assert (row["items"], row["discount"], row["age"]) == (order["items"], order["discount"], order["age"])
            assert row["age_is_null"] == (order["age"] is None)
            np.testing.assert_allclose(row["size"], order["size"], rtol=1e-6)
            assert row["price"] == (None if order["price"] is None else pytest.approx(order["price"], rel=1e-6))


def test_the_recipe_has_the_figures_of_train_alone(returns: Dataset) -> None:
    recipe = returns.recipe
    assert recipe is not None
    train = returns.to_table(split="train")
    price = train["price"].drop_null().to_numpy().astype(np.float64)
    figures = recipe.statistics["price"]
    assert (figures["count"], figures["nulls"]) == (len(price), train.num_rows - len(price))
    assert (figures["min"], figures["max"]) == (price.min(), price.max())
    assert figures["mean"] == pytest.approx(price.mean(), rel=1e-9)
    assert figures["std"] == pytest.approx(price.std(), rel=1e-9)
    assert recipe.nulls["price"] == {"rule": "mean", "value": figures["mean"]}
    returned = int(np.count_nonzero(train["target"].to_numpy(zero_copy_only=False)))
    counts = (train.num_rows - returned, returned)
    assert recipe.splits["train"] == {"rows": train.num_rows, "classes": counts}
    assert recipe.class_weights == pytest.approx([train.num_rows / (2 * count) for count in counts])
    assert recipe.shapes == {"size": (3,)}
    assert recipe.dropped == {"null in weight": sum(row["weight"] is None for row in orders().to_pylist())}


def test_batches_have_a_matrix_for_each_type_or_a_column_for_each_name(returns: Dataset) -> None:
    assert returns.recipe is not None
    order = {"split": "val", "global_batch_rows": 64, "shuffle": "none", "tail": "uneven"}
    with returns.training(**order) as loader:
        whole = [{name: array.copy() for name, array in batch.items()} for batch in loader]
    assert {name: (array.shape[1:], str(array.dtype)) for name, array in whole[0].items()} == {
        "features": ((4,), "float32"),
        "features_int16": ((1,), "int16"),
        "features_uint16": ((1,), "uint16"),
        "features_bool": ((1,), "bool"),
        "size": ((3,), "float32"),
        "target": ((), "bool"),
    }
    floats = [name for name in returns.recipe.features if returns.schema.field(name).type == pa.float32()]
    assert floats == ["items", "weight", "price", "age"]
    with returns.training(**order, columns=["id", *floats, "discount", "size"]) as loader:
        single = [{name: array.copy() for name, array in batch.items()} for batch in loader]
    for matrices, columns in zip(whole, single, strict=True):
        for place, name in enumerate(floats):
            np.testing.assert_array_equal(matrices["features"][:, place], columns[name])
        np.testing.assert_array_equal(matrices["size"], columns["size"])
    rows = {row["id"]: row for row in returns.to_table(split="val").to_pylist()}
    mean = np.float32(returns.recipe.nulls["price"]["value"])
    for columns in single:
        for i, number in enumerate(columns["id"].tolist()):
            row = rows[number]
            assert columns["discount"][i] == (row["discount"] or 0)
            assert columns["price"][i] == (mean if row["price"] is None else row["price"])
            assert np.isnan(columns["age"][i]) == row["age_is_null"]


def test_the_recipe_normalizes_numbers_and_neither_categories_nor_tensors(returns: Dataset) -> None:
    assert returns.recipe is not None
    order = {"split": "val", "global_batch_rows": 64, "shuffle": "none"}
    with returns.training(**order) as plain, returns.training(**order, normalize="recipe") as scaled:
        one, other = next(iter(plain)), next(iter(scaled))
    floats = [name for name in returns.recipe.features if returns.schema.field(name).type == pa.float32()]
    for place, name in enumerate(floats):
        figures = returns.recipe.statistics[name]
        expected = (one["features"][:, place].astype(np.float64) - figures["mean"]) / figures["std"]
        np.testing.assert_allclose(other["features"][:, place], expected, rtol=1e-4, atol=1e-5)
    assert {other[name].dtype for name in ("features_int16", "features_bool")} == {np.dtype(np.float32)}
    for name in ("size", "features_uint16", "target"):
        np.testing.assert_array_equal(other[name], one[name])
        assert other[name].dtype == one[name].dtype


def test_rows_that_are_appended_leave_the_others_where_they_are(shop: Store, returns: Dataset) -> None:
    before = {row["id"]: (split, row["channel"]) for split, rows in stored_rows(returns).items() for row in rows}
    assert shop.prepare("returns", file=FILE).skipped == "unchanged"
    shop.load("orders", orders(500, first=ORDERS), LoadOptions(mode="append"))
    shop.prepare("returns", file=FILE)
    newest = stored_rows(shop.dataset("returns"))
    after = {row["id"]: (split, row["channel"]) for split, rows in newest.items() for row in rows}
    assert len(after) > len(before)
    assert {number: after[number] for number in before} == before


def module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("scoring", FOLDER / "returns_model.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def test_its_own_function_trains_a_model_whose_files_score_raw_rows(shop: Store, returns: Dataset) -> None:
    model = shop.train("returns", file=FILE)
    assert (model.dataset, model.data, model.best) == ("returns_model", returns.version.reference, True)
    assert model.metrics["test_auc"] > 0.65
    test = returns.to_table(split="test")
    assert model.metrics["test_rows"] == test.num_rows
    numbers = set(test["id"].to_pylist())
    rows = pa.Table.from_pylist([row for row in expected_rows() if row["id"] in numbers])
    files = shop.model_files("returns_model@best")
    assert list(files) == ["metrics.json", "recipe.json", "report.md", "weights.npz"]
    scoring = module()
    auc = scoring.auc(scoring.score(files, rows), np.array(rows["returned"].to_pylist()))
    assert auc == pytest.approx(model.metrics["test_auc"], abs=1e-3)
    assert shop.train("returns", file=FILE).skipped == "unchanged"
    assert "returns_model@1" in shop.lineage("orders").text()


def test_the_command_line_prepares_trains_and_shows_it(
    shop: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Store, "connect", lambda _settings: shop)
    monkeypatch.setenv("MILLRACE_KAFKA__BOOTSTRAP_SERVERS", "")
    kafka = shop.settings.kafka.model_copy(update={"bootstrap_servers": ""})
    shop.settings = shop.settings.model_copy(update={"kafka": kafka})
    file = ["--file", str(FILE)]
    printed = {}
    for name, command in {
        "dry": ["prepare", "returns", *file, "--dry-run", "--head", "3"],
        "prepare": ["prepare", "returns", *file],
        "show": ["show", "returns"],
        "read": ["read", "returns", "--split", "val", "--head", "3"],
        "train": ["train", "returns", *file],
        "model": ["show", "returns_model@best"],
    }.items():
        assert run(command) == 0
        printed[name] = " ".join(capsys.readouterr().out.split())
    assert "price_known_at timestamp" in printed["dry"]
    assert "3,000, of which 45 were dropped; 45 null in weight" in printed["prepare"]
    assert "made from customers@1-" in printed["show"]
    assert "size fixed_size_list<item: float>[3]" in printed["show"]
    assert "age_is_null" in printed["read"]
    assert "test_auc 0.7" in printed["train"]
    assert "made from returns@1-" in printed["model"]
