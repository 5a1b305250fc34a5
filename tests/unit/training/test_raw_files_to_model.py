"""The section "From raw files to a model" of ``docs/training.md`` runs as it is written, from CSV files to scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.csv as pc
import pytest

from local_stack.settings import CHECKOUT
from millrace.api import Store
from tests.unit.store.in_memory import cassandra, settings, store
from tests.unit.training.prepare.pages import Examples, blocks, connected
from tests.unit.training.prepare.trips import trips, weather

__all__ = ["cassandra", "settings", "store"]

PAGE = (CHECKOUT / "docs" / "training.md").read_text()
SECTION = PAGE.split("\n## From raw files to a model\n")[1].split("\n## ")[0]


@pytest.fixture
def examples(store: Store, tmp_path: Path) -> Examples:
    """Run the section in a folder with its two files."""
    pc.write_csv(trips(600), tmp_path / "trips.csv")
    pc.write_csv(weather(12), tmp_path / "weather.csv")
    made = Examples(tmp_path, {"store": store})
    with connected(store, tmp_path):
        for block in blocks(SECTION):
            made.run(block)
    return made


def test_each_block_runs_in_order(examples: Examples, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert [command[0] for command in examples.commands] == [
        "load", "load", "prepare", "prepare", "show", "read", "train", "show",
    ]  # fmt: skip
    names = examples.names
    assert (names["numbers"].shape, names["numbers"].dtype) == ((64, 3), np.float32)
    assert names["vectors"].shape == (64, 3)
    assert set(names["weights"]) <= set(names["recipe"].class_weights)
    assert set(names["cities"]) == {"Aachen", "Bern", "Cork"}
    assert store.version("late_trips_model").inputs == {"data": store.version("late_trips").reference}


def test_the_scores_of_raw_rows_are_those_of_the_loaders(examples: Examples, store: Store) -> None:
    names = examples.names
    score = names["score"]
    data, recipe = names["data"], names["recipe"]
    stored = data.to_table(split="val", columns=["city", "distance", "start_hour", "temp", "target"]).to_pylist()
    rows = [{**row, "city": recipe.categories["city"][row["city"] - 1]} for row in stored]
    assert any(row["temp"] is None for row in rows)
    scores = score(names["files"], rows)
    right = np.mean((scores > 0.5) == np.array([row["target"] for row in rows]))
    metrics = store.train("late_trips", file=examples.folder / "training.yaml").metrics
    assert metrics["val_score"] == pytest.approx(right)
    unknown = score(names["files"], [{**rows[0], "city": "Paris"}])
    assert 0 < unknown[0] < 1
