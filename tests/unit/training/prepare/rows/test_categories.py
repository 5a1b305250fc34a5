"""Codes of categories: from train alone, stable from version to version, and limited."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from millrace.dataset import Recipe
from millrace.errors import UsageError
from millrace.training.prepare import CutSplits, Preparation
from millrace.training.prepare.rows import categories as room
from tests.unit.training.prepare.rows.preparing import Prepared, preparation, prepare

START = datetime(2020, 1, 1)


def facts(values: list[Any], kind: pa.DataType | None = None) -> pa.Table:
    rows = len(values)
    return pa.table({
        "id": range(rows),
        "y": [i % 2 == 0 for i in range(rows)],
        "a": np.arange(rows) / 3,
        "t": pa.array([START + timedelta(days=i) for i in range(rows)], pa.timestamp("us")),
        "c": pa.array(values, kind),
    })  # fmt: skip


def entry(train_rows: int, **fields: Any) -> Preparation:
    cut = (START + timedelta(days=train_rows)).date()
    cuts = CutSplits({"train": f"< {cut}", "test": "rest"})
    return preparation("SELECT id, a, c FROM facts", splits=cuts, at="t", categories=("c",), **fields)


def codes(made: Prepared) -> list[int | None]:
    stored: list[int | None] = made.table.sort_by("id")["c"].to_pylist()
    return stored


def test_codes_are_of_train_alone_and_an_unseen_value_has_its_own(tmp_path: Path) -> None:
    made = prepare(tmp_path, entry(6), facts(["b", "a", None, "b", "é", "B", "z", "a", None, "b"]))
    assert made.recipe.categories == {"c": ("B", "a", "b", "é")}
    assert codes(made) == [3, 2, None, 3, 4, 1, 0, 2, None, 3]
    assert made.rows.schema.field("c").type == pa.uint16()


def test_codes_of_an_earlier_recipe_stay_and_new_values_follow_sorted(tmp_path: Path) -> None:
    first = prepare(tmp_path, entry(4), facts(["m", "k", "m", "x"] * 2))
    second = prepare(tmp_path, entry(8), facts(["m", "k", "b", "m", "a", "z", "m", "k", "q"]), earlier=first.recipe)
    assert second.recipe.categories == {"c": ("k", "m", "x", "a", "b", "z")}
    assert codes(second) == [2, 1, 5, 2, 4, 6, 2, 1, 0]


def test_codes_survive_a_recipe_in_the_metadata_of_a_schema(tmp_path: Path) -> None:
    from millrace.dataset import recipe_of

    first = prepare(tmp_path, entry(4), facts([3, 1, 3, 2] * 2, pa.int16()))
    read = recipe_of(first.recipe.with_recipe(first.rows.schema))
    assert isinstance(read, Recipe)
    again = prepare(tmp_path, entry(4), facts([3, 1, 0, 9] * 2, pa.int64()), earlier=read)
    assert again.recipe.categories == {"c": (1, 2, 3, 0, 9)}
    assert codes(again) == [3, 1, 4, 5] * 2


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ([True, False, None, True] * 2, pa.bool_(), (False, True)),
        ([5, -1, 2**40, 5] * 2, pa.int64(), (-1, 5, 2**40)),
        ([2**64 - 1, 0, 3, 3] * 2, pa.uint64(), (0, 3, 2**64 - 1)),
        (["it's", 'a"b', "\0", ""] * 2, pa.string(), ("", "\0", 'a"b', "it's")),
    ],
)
def test_categories_of_all_types(tmp_path: Path, values: list[Any], kind: pa.DataType, expected: tuple[Any]) -> None:
    made = prepare(tmp_path, entry(6), facts(values, kind))
    assert made.recipe.categories == {"c": expected}
    assert codes(made) == [None if value is None else expected.index(value) + 1 for value in values]


def test_a_category_that_changed_its_type_keeps_the_old_codes_taken(tmp_path: Path) -> None:
    first = prepare(tmp_path, entry(4), facts(["1", "0"] * 4))
    for values, expected in (([1, 0] * 4, ("0", "1", 0, 1)), ([True, False] * 4, ("0", "1", False, True))):
        made = prepare(tmp_path, entry(4), facts(values), earlier=first.recipe)
        assert made.recipe.categories == {"c": expected}
        assert codes(made) == [4, 3] * 4


def test_an_enumeration_is_a_text(tmp_path: Path) -> None:
    values = pa.array(["x", "y", "x", "y"] * 2).dictionary_encode()
    table = facts([0] * 8).set_column(4, "c", values)
    assert prepare(tmp_path, entry(4), table).recipe.categories == {"c": ("x", "y")}


def test_too_many_categories_are_refused_with_their_number(tmp_path: Path) -> None:
    assert room.CATEGORIES_MAX == 65_535
    rows = 65_537
    table = pa.table({"id": range(rows), "y": [i % 2 == 0 for i in range(rows)], "c": [f"c{i}" for i in range(rows)]})
    all_in_train = preparation(
        splits=CutSplits({"train": "< 2021-01-01"}), at="DATE '2020-01-01'", categories=("c",), target="y"
    )
    with pytest.raises(UsageError, match="the column 'c' has 65,537 categories, and at most 65,535 are possible"):
        prepare(tmp_path, all_in_train, table)


def test_earlier_categories_count_in_the_limit(tmp_path: Path) -> None:
    first = prepare(tmp_path, entry(4), facts(["a", "b"] * 4))
    many = tuple(f"old{i}" for i in range(room.CATEGORIES_MAX))
    from dataclasses import replace

    with pytest.raises(UsageError, match="has 65,537 categories"):
        prepare(tmp_path, entry(4), facts(["a", "b"] * 4), earlier=replace(first.recipe, categories={"c": many}))


def test_sixty_thousand_categories_are_possible(tmp_path: Path) -> None:
    rows = 60_000
    table = pa.table(
        {"id": range(rows), "y": [i % 2 == 0 for i in range(rows)], "c": [f"c{i:05}" for i in range(rows)]}
    )
    whole = preparation(splits=CutSplits({"train": "< 2021-01-01"}), at="DATE '2020-01-01'", categories=("c",))
    made = prepare(tmp_path, whole, table)
    assert codes(made) == list(range(1, rows + 1))


def test_a_constant_for_nulls_is_one_of_the_categories(tmp_path: Path) -> None:
    table = facts(["a", None, "b", "c"] * 2)
    assert prepare(tmp_path, entry(4, nulls={"c": "b"}), table).recipe.nulls == {"c": {"rule": "value", "value": "b"}}
    with pytest.raises(UsageError, match="'other' is none of its categories in train"):
        prepare(tmp_path, entry(4, nulls={"c": "other"}), table)
