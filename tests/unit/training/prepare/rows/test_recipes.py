"""The recipe of prepared rows: statistics of train alone, as plain JSON."""

import numpy as np
import pyarrow as pa
import pytest

from millrace.dataset import recipe_of
from millrace.training.prepare import HashSplits
from tests.unit.training.prepare.rows.preparing import Prepared, preparation, prepare

ROWS = 5000


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    draw = np.random.default_rng(0)
    day = np.arange(ROWS) // 100
    table = pa.table({
        "id": np.arange(ROWS),
        "y": draw.random(ROWS) < 0.4,
        "day": day,
        "trend": day + draw.normal(size=ROWS),
        "small": pa.array((day * 3).astype(np.float32), mask=draw.random(ROWS) < 0.1),
        "count": pa.array(day * 10**15 + 7),
        "kind": draw.choice(["x", "y"], ROWS),
    })  # fmt: skip
    entry = preparation(
        "SELECT * FROM facts",
        splits=HashSplits({"train": 0.6, "val": 0.2, "test": 0.2}, ("day",)),
        categories=("kind",),
        nulls={"small": "mean"},
    )
    return prepare(tmp_path_factory.mktemp("recipe"), entry, table, batch_rows=333)


@pytest.mark.parametrize("name", ["trend", "small", "count"])
def test_statistics_equal_numpy_over_train_and_differ_from_those_over_all_rows(made: Prepared, name: str) -> None:
    figures = made.recipe.statistics[name]
    train, whole = (
        table[name].drop_null().to_numpy().astype(np.float64) for table in (made.splits["train"], made.table)
    )
    assert figures["count"] == len(train)
    assert figures["nulls"] == made.splits["train"][name].null_count
    assert (figures["min"], figures["max"]) == (train.min(), train.max())
    assert figures["mean"] == pytest.approx(train.mean(), rel=1e-9)
    assert figures["std"] == pytest.approx(train.std(), rel=1e-9)
    assert figures["mean"] != pytest.approx(whole.mean(), rel=1e-3)
    assert figures["std"] != pytest.approx(whole.std(), rel=1e-3)


def test_the_mean_that_replaces_nulls_is_that_of_train(made: Prepared) -> None:
    assert made.recipe.nulls["small"]["value"] == made.recipe.statistics["small"]["mean"]


def test_the_recipe_survives_the_metadata_of_a_schema(made: Prepared) -> None:
    read = recipe_of(made.recipe.with_recipe(made.rows.schema))
    assert read is not None
    for name in ("features", "categories", "classes", "class_weights", "splits", "statistics", "nulls", "rows_in"):
        assert getattr(read, name) == getattr(made.recipe, name), name


def test_the_recipe_names_columns_in_the_order_of_the_schema(made: Prepared) -> None:
    assert made.rows.schema.names == ["id", "day", "target", "trend", "small", "count", "kind"]
    assert made.recipe.features == ("trend", "small", "count", "kind")
    assert made.recipe.key == ("id",)
    assert made.recipe.inputs == {"facts": "facts@1-aaaaaa"}
    assert made.recipe.entry["query"] == "SELECT * FROM facts"
