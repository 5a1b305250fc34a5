"""``docs/prepare.md`` lists its sections and every field, and its examples run as they are written."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import yaml

from local_stack.settings import CHECKOUT
from millrace.api import Store
from millrace.declarations.training_entry import TrainingEntry
from millrace.declarations.training_file import make_training
from millrace.errors import MillraceError
from millrace.settings import field_docstrings
from tests.unit.training.prepare.pages import Examples, blocks, connected

PAGE = (CHECKOUT / "docs" / "prepare.md").read_text()


def test_the_page_begins_with_links_to_its_sections() -> None:
    introduction, body = PAGE.split("\n## ", 1)
    titles = re.findall(r"^## (.*)$", f"## {body}", re.MULTILINE)
    links = re.findall(r"\[([^\]]+)\]\(#([\w-]+)\)", introduction)
    assert links == [(title, title.lower().replace(" ", "-").replace(",", "")) for title in titles]


def test_the_table_has_each_field_with_its_sentence() -> None:
    table = re.findall(r"^\| `(\w+)` \| (.*) \|$", PAGE.split("\n## Fields\n")[1].split("\n## ")[0], re.MULTILINE)
    docstrings = field_docstrings(TrainingEntry)
    assert table == [(name, " ".join(text.replace("``", "`").split())) for name, text in docstrings.items()]


def test_each_field_of_an_example_is_valid() -> None:
    entry = yaml.safe_load(next(text for _, text in blocks(PAGE) if text.startswith("training:")))
    fields = entry["training"]["late_trips"]
    lines = [line for kind, text in blocks(PAGE) if kind == "yaml" for line in text.splitlines()]
    changed = [line for line in lines if re.match(r"(splits|expect): ", line)]
    assert len(changed) == 4
    for line in changed:
        make_training("late_trips", {**fields, **yaml.safe_load(line)})


def test_every_example_runs_in_the_order_of_the_page(
    loaded: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    examples = Examples(tmp_path)
    with connected(loaded, tmp_path):
        for block in blocks(PAGE):
            examples.run(block)
    assert [" ".join(command[:2]) for command in examples.commands] == [
        "prepare late_trips",
        "prepare late_trips",
        "show late_trips",
        "read late_trips",
        "train late_trips",
        "show late_trips_model@best",
    ]
    data = examples.names["data"]
    assert sum(figures["rows"] for figures in data.recipe.splits.values()) == 588
    assert examples.names["rows"].num_rows == data.recipe.splits["val"]["rows"]
    assert {name: array.shape for name, array in examples.names["batch"].items()} == {
        "features": (64, 2),
        "features_uint16": (64, 1),
        "target": (64,),
    }
    # The rates of the stored model are those of the rows: a known city has its own, an unknown one that of all.
    train = data.to_table(split="train")
    late, codes = train["target"].to_numpy(zero_copy_only=False), train["city"].to_numpy()
    bern = data.recipe.categories["city"].index("Bern") + 1
    expected = [late[codes == bern].mean(), late.mean()]
    assert str(np.array(expected)) in capsys.readouterr().out


MOMENT = datetime(2026, 3, 1, 4, 5, 6, tzinfo=UTC)
KEYS: dict[str, tuple[Any, Callable[[int], Any], Callable[[int], str]]] = {
    "number": (pa.int16(), lambda i: i - 100, lambda i: str(i - 100)),
    "flag": (pa.bool_(), lambda i: i % 2 == 0, lambda i: "true" if i % 2 == 0 else "false"),
    "day": (pa.date32(), lambda i: date(2026, 1, 1 + i % 28), lambda i: f"2026-01-{1 + i % 28:02d}"),
    "second": (pa.timestamp("us", "UTC"), lambda i: MOMENT, lambda i: "2026-03-01T04:05:06Z"),
    "fraction": (
        pa.timestamp("us"),
        lambda i: MOMENT.replace(tzinfo=None, microsecond=i + 1),
        lambda i: f"2026-03-01T04:05:06.{i + 1:06d}Z",
    ),
    "nano": (
        pa.timestamp("ns"),
        lambda i: int(MOMENT.timestamp()) * 10**9 + 1,
        lambda i: "2026-03-01T04:05:06.000000001Z",
    ),
    "text": (pa.string(), lambda i: f"a|b\\{i}", lambda i: f"a\\|b\\\\{i}"),
    "price": (pa.decimal128(9, 3), lambda i: Decimal(i) / 4, lambda i: f"{i / 4:g}"),
}


def test_another_program_computes_split_and_order_of_each_row(store: Store) -> None:
    rows, seed, weights = 200, 5, {"train": 0.5, "val": 0.2, "test": 0.3}
    columns = {name: pa.array(map(value, range(rows)), kind) for name, (kind, value, _) in KEYS.items()}
    numbers = {"row": np.arange(rows), "y": np.arange(rows) % 3 == 0}
    store.load("facts", pa.table({**columns, **numbers}))
    entry = {
        "inputs": {"facts": "facts"},
        "query": f"SELECT {', '.join(KEYS)}, row::DOUBLE AS row FROM facts",
        "key": list(KEYS),
        "target": "y",
        "splits": weights,
        "seed": seed,
    }
    store.prepare("keyed", entry=entry)
    functions: dict[str, Any] = {}
    exec(next(text for _, text in blocks(PAGE) if "def split_of" in text), functions)
    texts = [[text(i) for _, _, text in KEYS.values()] for i in range(rows)]
    for split in weights:
        expected = [i for i in range(rows) if functions["split_of"](texts[i], weights, seed) == split]
        expected.sort(key=lambda i: functions["order_of"](texts[i], seed))
        assert store.dataset("keyed").to_table(split=split)["row"].to_pylist() == expected


def test_a_null_of_by_has_a_text(store: Store) -> None:
    groups = [None if i % 4 == 0 else f"group {i % 40}" for i in range(200)]
    store.load("facts", pa.table({"id": np.arange(200), "y": np.arange(200) % 3 == 0, "group": groups}))
    weights = {"train": 0.5, "test": 0.5}
    entry = {
        "inputs": {"facts": "facts"},
        "query": 'SELECT id, "group", (id * 2)::FLOAT AS x FROM facts',
        "key": "id",
        "target": "y",
        "splits": {"by": "group", **weights},
    }
    store.prepare("grouped", entry=entry)
    functions: dict[str, Any] = {}
    exec(next(text for _, text in blocks(PAGE) if "def split_of" in text), functions)
    for split in weights:
        found = set(store.dataset("grouped").to_table(split=split)["group"].to_pylist())
        texts = {group: "\\N" if group is None else group for group in groups}
        assert found == {group for group, text in texts.items() if functions["split_of"]([text], weights) == split}


def test_each_type_of_the_table_is_stored_and_read_as_it_has_there(store: Store) -> None:
    store.load("facts", pa.table({"id": np.arange(200), "y": np.arange(200) % 3 == 0, "x": np.arange(200) % 7}))
    query = """
        WITH sums AS (SELECT x, sum(id) AS total FROM facts GROUP BY x)
        SELECT id, x::FLOAT AS a, x::DOUBLE AS b, x::DECIMAL(9, 2) AS c, total AS d, x::SMALLINT AS e, x > 3 AS f,
               x AS g, 'text ' || x AS h, x > 2 AS i, [x, x + 1, id]::FLOAT[3] AS j,
               [[x, 1], [2, id]]::FLOAT[2][2] AS k
        FROM facts JOIN sums USING (x)
    """
    entry = {
        "inputs": {"facts": "facts"},
        "query": query,
        "key": "id",
        "target": "y",
        "categories": ["g", "h", "i"],
        "splits": {"train": 0.7, "val": 0.3},
    }
    store.prepare("typed", entry=entry)
    data = store.dataset("typed")
    types = [(field.name, str(field.type)) for field in data.schema]
    small = "fixed_size_list<item: float>"
    assert dict(types) == {
        "id": "int64", "target": "bool", "a": "float", "b": "double", "c": "double", "d": "double", "e": "int16",
        "f": "bool", "g": "uint16", "h": "uint16", "i": "uint16", "j": f"{small}[3]",
        "k": f"fixed_size_list<item: {small}[2]>[2]",
    }  # fmt: skip
    with data.training(split="train", global_batch_rows=8) as loader:
        batch = next(iter(loader))
        shapes = {name: (str(array.dtype), array.shape[1:]) for name, array in batch.items()}
    assert shapes == {
        "features": ("float32", (1,)), "features_float64": ("float64", (3,)), "features_int16": ("int16", (1,)),
        "features_bool": ("bool", (1,)), "features_uint16": ("uint16", (3,)), "j": ("float32", (3,)),
        "k": ("float32", (2, 2)), "target": ("bool", ()),
    }  # fmt: skip


LATE = {"query": "SELECT id, delay::FLOAT AS late FROM trips", "features": ["late"], "categories": [], "nulls": {}}
ERRORS: list[tuple[dict[str, str], dict[str, Any]]] = [
    ({}, {**LATE, "inputs": {"trips": "trips"}, "known": {}}),
    ({"INTERVAL 1 HOUR": "INTERVAL 0 HOUR"}, {}),
    ({"ASOF LEFT": "LEFT", "AND w.hour <= t.start - INTERVAL 1 HOUR": ""}, {}),
    ({"t.city, t.distance": "t.city, t.start, t.distance"}, {}),
    ({"temp::FLOAT": "temp::INTEGER"}, {"nulls": {}}),
    ({}, {"splits": {"train": 0.5, "val": 0.499999, "test": 0.000001}}),
    ({}, {"target": "delay < 1000"}),
    ({}, {}),
    ({}, {"expect": {"rows_min": 10_000}}),
]
"""For each line of the table changes of the query, and other fields, that make its error."""


@pytest.mark.parametrize("place", range(len(ERRORS)))
def test_each_error_of_the_table_has_its_text(loaded: Store, place: int) -> None:
    table = re.findall(r"^\| `(.*?)` \| ", PAGE.split("\n## Errors\n")[1].split("\n## ")[0], re.MULTILINE)
    assert len(table) == len(ERRORS)
    pattern = ".*".join(re.escape(part) for part in table[place].split("..."))
    entry = yaml.safe_load(next(text for _, text in blocks(PAGE) if text.startswith("training:")))["training"]
    replaced, fields = ERRORS[place]
    query = entry["late_trips"]["query"]
    for old, new in replaced.items():
        assert old in query
        query = query.replace(old, new)

    def prepared_and_read() -> None:
        loaded.prepare("late_trips", entry={**entry["late_trips"], "query": query, **fields})
        loaded.dataset("late_trips").training(split="val", global_batch_rows=4096).__enter__()

    with pytest.raises(MillraceError) as caught:
        prepared_and_read()
    assert re.search(pattern, str(caught.value)), str(caught.value)
