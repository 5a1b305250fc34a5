"""Prepared rows from end to end: stored columns, drops, counts, order, and the same bytes with one thread or two."""

import hashlib
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from millrace.errors import UsageError
from millrace.training.prepare import CutSplits, HashSplits
from millrace.training.prepare.rows import canonical_text, order_number, split_number, split_of, weight_limits
from tests.unit.training.prepare.rows.preparing import SPLITS, made_rows, preparation, prepare

ROWS = 3000


def facts(rows: int = ROWS, **more: Any) -> pa.Table:
    draw = np.random.default_rng(1)
    return pa.table({
        "id": np.arange(rows),
        "y": draw.random(rows) < 0.3,
        "a": draw.normal(size=rows),
        "b": draw.integers(0, 100, rows, dtype=np.int32),
        "kind": draw.choice(["x", "y", "z"], rows),
        **more,
    })  # fmt: skip


def test_rows_have_the_split_and_the_order_that_python_computes(tmp_path: Path) -> None:
    made = prepare(tmp_path, preparation(categories=("kind",), seed=5), facts())
    limits = weight_limits(SPLITS)
    texts = [canonical_text([i]) for i in range(ROWS)]
    for place, (split, table) in enumerate(made.splits.items()):
        expected = [i for i in range(ROWS) if split_of(split_number(texts[i], 5), limits) == place]
        expected.sort(key=lambda i: order_number(texts[i], 5))
        assert table["id"].to_pylist() == expected, split
    assert made.rows.split_rows == {split: table.num_rows for split, table in made.splits.items()}


def test_stored_values_are_those_of_the_query(tmp_path: Path) -> None:
    source = facts()
    table = prepare(tmp_path, preparation(categories=("kind",)), source).table.sort_by("id")
    assert table["target"].to_pylist() == source["y"].to_pylist()
    assert table["a"].to_pylist() == source["a"].to_pylist()
    codes = {"x": 1, "y": 2, "z": 3}
    assert table["kind"].to_pylist() == [codes[kind] for kind in source["kind"].to_pylist()]


@pytest.mark.parametrize("batch_rows", [100, 999, 100_000])
def test_batches_have_equal_lengths_within_a_split(tmp_path: Path, batch_rows: int) -> None:
    with made_rows(tmp_path, preparation(categories=("kind",)), {"facts": facts()}) as rows:
        lengths: dict[str, list[int]] = {}
        for split, batch in rows.batches(batch_rows=batch_rows):
            assert batch.schema == rows.schema
            lengths.setdefault(split, []).append(batch.num_rows)
    assert list(lengths) == ["train", "val", "test"]
    for split, count in rows.split_rows.items():
        whole, rest = divmod(count, batch_rows)
        assert lengths[split] == [batch_rows] * whole + [rest] * bool(rest)


def stream_digest(folder: Path, table: pa.Table, threads: int) -> str:
    entry = preparation(categories=("kind",), nulls={"a": "indicator"})
    digest = hashlib.sha256()
    with made_rows(folder, entry, {"facts": table}, threads=threads, memory_bytes=160_000_000) as rows:
        for split, batch in rows.batches(batch_rows=4096):
            digest.update(split.encode() + batch.serialize().to_pybytes())
    return digest.hexdigest()


def test_one_thread_and_two_give_the_same_bytes(tmp_path: Path) -> None:
    # More rows than one row group of DuckDB, so that two threads share the work.
    rows = 300_000
    holes = np.random.default_rng(2).random(rows) < 0.1
    table = facts(rows).set_column(2, "a", pa.array(np.arange(rows) / 7, mask=holes))
    assert len({stream_digest(tmp_path, table, threads) for threads in (1, 2, 2)}) == 1


def test_columns_of_all_types_are_stored(tmp_path: Path) -> None:
    rows = 200
    query = """
        SELECT id, id % 7 AS day_number, DATE '2020-01-01' + CAST(id % 9 AS INTEGER) AS day,
               CAST(id AS HUGEINT) AS huge, CAST(id AS DECIMAL(9, 2)) / 4 AS part,
               CAST(id / 4 AS DECIMAL(9, 2)) AS price, id % 2 = 0 AS even,
               CAST([id, id + 1, id + 2] AS FLOAT[3]) AS image,
               CAST([[id], [2]] AS DECIMAL(9, 1)[1][2]) AS grid, pair
        FROM facts
    """
    pairs = pa.array([[i, -i] for i in range(rows)], pa.list_(pa.int16(), 2))
    entry = preparation(query, splits=HashSplits({"train": 0.5, "test": 0.5}, ("day",)))
    made = prepare(tmp_path, entry, facts(rows, pair=pairs))
    assert made.rows.schema == pa.schema({
        "id": pa.int64(), "day": pa.date32(), "target": pa.bool_(), "day_number": pa.int64(), "huge": pa.float64(),
        "part": pa.float64(), "price": pa.float64(), "even": pa.bool_(), "image": pa.list_(pa.float32(), 3),
        "grid": pa.list_(pa.list_(pa.float64(), 1), 2), "pair": pa.list_(pa.int16(), 2),
    })  # fmt: skip
    row = made.table.sort_by("id").slice(5, 1).drop_columns("target").to_pylist()[0]
    assert row == {
        "id": 5, "day": date(2020, 1, 6), "day_number": 5, "huge": 5.0, "part": 1.25, "price": 1.25, "even": False,
        "image": [5, 6, 7], "grid": [[5.0], [2.0]], "pair": [5, -5],
    }  # fmt: skip
    assert made.recipe.shapes == {"image": (3,), "grid": (2, 1), "pair": (2,)}


def test_keys_of_all_types_are_stored_as_they_are(tmp_path: Path) -> None:
    moment = datetime(2020, 1, 1)
    keys = pa.table({
        "id": pa.array(range(60), pa.uint8()),
        "y": [i % 3 == 0 for i in range(60)],
        "a": pa.array(np.arange(60.0)),
        "text": pa.array([f"k|{i}" for i in range(60)]).dictionary_encode(),
        "time": pa.array([moment + timedelta(milliseconds=i) for i in range(60)], pa.timestamp("ms")),
        "zoned": pa.array([moment] * 60, pa.timestamp("us", "UTC")),
        "number": pa.array([Decimal(i) / 4 for i in range(60)], pa.decimal128(7, 2)),
        "flag": [True] * 60,
    })  # fmt: skip
    names = ("id", "text", "time", "zoned", "number", "flag")
    made = prepare(tmp_path, preparation(key=names), keys)
    stored = made.table.sort_by("id").select(names)
    assert stored.schema == keys.select(names).schema.set(1, pa.field("text", pa.string()))
    assert stored.drop_columns("text").equals(keys.select(names).drop_columns("text"))


def test_dropped_rows_are_counted_by_the_first_reason(tmp_path: Path) -> None:
    rows = 100
    table = facts(rows)
    y = [None if i < 5 else i % 2 == 0 for i in range(rows)]
    a = [None if i in (0, 10, 11) else float(i) for i in range(rows)]
    t = [None if i in (1, 10, 20) else datetime(2020, 1, 1) + timedelta(days=i) for i in range(rows)]
    table = table.set_column(1, "y", pa.array(y, pa.bool_())).set_column(2, "a", pa.array(a, pa.float64()))
    table = table.append_column("t", pa.array(t, pa.timestamp("us")))
    cuts = CutSplits({"train": "< 2020-02-20", "test": ">= 2020-03-01"})
    query = "SELECT id, a, b FROM facts WHERE id < 90"
    made = prepare(tmp_path, preparation(query, splits=cuts, at="t", nulls={"a": "drop"}), table)
    assert made.recipe.dropped == {
        "not in the query's result": 10,
        "no target": 5,
        "no moment of prediction": 2,
        "null in a": 1,
        "in no split": 10,
    }
    assert made.recipe.rows_in == rows
    assert sum(made.rows.split_rows.values()) == rows - 28
    assert made.splits["train"]["id"].to_pylist() != sorted(made.splits["train"]["id"].to_pylist())
    assert set(made.splits["train"]["id"].to_pylist()) == set(range(5, 50)) - {10, 11, 20}
    assert set(made.splits["test"]["id"].to_pylist()) == set(range(60, 90))


def test_nan_in_a_float_target_is_no_target(tmp_path: Path) -> None:
    y = pa.array([float("nan"), None, *np.arange(98.0)])
    made = prepare(tmp_path, preparation("SELECT id, a FROM facts"), facts(100).set_column(1, "y", y))
    assert made.recipe.dropped == {"no target": 2}
    assert made.rows.schema.field("target").type == pa.float64()
    assert made.recipe.classes is None
    assert made.recipe.class_weights is None
    train = np.array(made.splits["train"]["target"])
    assert made.recipe.statistics["target"]["mean"] == pytest.approx(train.mean())


@pytest.mark.parametrize(
    ("expression", "kind", "classes"),
    [
        ("b > 50", pa.bool_(), (False, True)),
        ("kind", pa.string(), ("x", "y", "z")),
        ("b % 3", pa.int32(), (0, 1, 2)),
        ("CAST(b % 2 AS HUGEINT)", pa.int64(), (0, 1)),
        ("CAST(b AS FLOAT)", pa.float32(), None),
        ("b * 0.5", pa.float64(), None),
    ],
)
def test_targets_are_classes_or_a_number(
    tmp_path: Path, expression: str, kind: pa.DataType, classes: tuple[Any, ...] | None
) -> None:
    made = prepare(tmp_path, preparation("SELECT id, a FROM facts", target=expression), facts(500))
    assert made.rows.schema.field("target").type == kind
    assert made.recipe.classes == classes
    if classes:
        for split, table in made.splits.items():
            counts = [table["target"].to_pylist().count(value) for value in classes]
            assert made.recipe.splits[split] == {"rows": table.num_rows, "classes": tuple(counts)}
        rows, counts = made.recipe.splits["train"].values()
        assert made.recipe.class_weights == tuple(rows / (len(classes) * count) for count in counts)


@pytest.mark.parametrize("expression", ["DATE '2020-01-01'", "[b]", "INTERVAL (b) DAY"])
def test_a_target_of_another_type_is_refused(tmp_path: Path, expression: str) -> None:
    with pytest.raises(UsageError, match="targets are booleans, texts"):
        prepare(tmp_path, preparation("SELECT id, a FROM facts", target=expression), facts(50))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"target": "CAST(kind AS INT) > 3"}, "target of made failed: Could not convert string '[xyz]' to INT32"),
        ({"target": "kind - 3"}, "target of made failed: "),
        ({"query": "SELECT kind || id AS id, a FROM facts"}, "^key or target of made failed: Could not convert string"),
        ({"target": "y", "at": "kind - INTERVAL 1 HOUR", "known": {}}, "at of made failed: "),
    ],
)
def test_an_expression_that_fails_is_named(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as refused:
        prepare(tmp_path, preparation(**{"query": "SELECT id, a FROM facts", **fields}), facts())
    assert "\n" not in str(refused.value)
    assert "millrace_" not in str(refused.value)  # names of the program


def test_a_target_of_one_class_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="one class in the split 'train': False"):
        prepare(tmp_path, preparation("SELECT id, a FROM facts", target="b > 1000"), facts(50))


def test_a_class_only_outside_of_train_has_weight_zero(tmp_path: Path) -> None:
    table = facts(40).append_column("t", pa.array([datetime(2020, 1, 1) + timedelta(days=i) for i in range(40)]))
    cuts = CutSplits({"train": "< 2020-02-01", "test": "rest"})
    entry = preparation(
        "SELECT id, a FROM facts", splits=cuts, at="t", target="CASE WHEN id >= 35 THEN 9 ELSE id % 2 END"
    )
    recipe = prepare(tmp_path, entry, table).recipe
    assert recipe.classes == (0, 1, 9)
    assert recipe.class_weights == pytest.approx((31 / (3 * 16), 31 / (3 * 15), 0.0))


def test_an_empty_split_is_refused_with_the_reasons_of_dropped_rows(tmp_path: Path) -> None:
    table = facts(30).append_column("t", pa.array([datetime(2020, 1, 1)] * 30))
    cuts = CutSplits({"train": "< 2020-02-01", "val": "< 2020-03-01", "test": "> 2021-01-01"})
    with pytest.raises(UsageError, match="the split 'val' is empty; 30 rows are left"):
        prepare(tmp_path, preparation("SELECT id, a FROM facts", splits=cuts, at="t"), table)


def test_a_query_without_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the query returns no rows"):
        prepare(tmp_path, preparation("SELECT id, a FROM facts WHERE id < 0"), facts(30))


def test_an_at_that_is_no_time_is_refused(tmp_path: Path) -> None:
    cuts = CutSplits({"train": "< 2020-02-01", "test": "rest"})
    with pytest.raises(UsageError, match="at is of type BIGINT, which is no date or time"):
        prepare(tmp_path, preparation("SELECT id, a FROM facts", splits=cuts, at="id"), facts(30))


def label_spread(labels: Any) -> float:
    whole = labels[: len(labels) // 256 * 256]
    return float(whole.reshape(-1, 256).mean(axis=1).std())


def test_label_sorted_input_is_stored_as_well_mixed_as_a_full_shuffle(tmp_path: Path) -> None:
    rows = 400_000
    table = pa.table(
        {"id": np.arange(rows), "y": np.arange(rows) >= rows * 0.7, "a": np.arange(rows, dtype=np.float32)}
    )
    stored = prepare(tmp_path, preparation(splits=HashSplits({"train": 0.9, "test": 0.1})), table).splits["train"]
    labels = np.array(stored["target"]).astype(np.float64)
    shuffles = [label_spread(np.random.default_rng(seed).permutation(labels)) for seed in range(5)]
    assert label_spread(labels) == pytest.approx(np.mean(shuffles), rel=0.1)


@pytest.mark.parametrize("kind", [pa.float32(), pa.float64()])
def test_a_nan_in_the_target_or_in_at_is_no_label_and_not_the_largest_number(tmp_path: Path, kind: pa.DataType) -> None:
    delays = [float("nan") if i % 10 == 0 else float(i % 40) for i in range(ROWS)]
    hours = [float("nan") if i % 10 == 1 else 1.0 for i in range(ROWS)]
    table = facts(delay=pa.array(delays, kind), hours=pa.array(hours))
    entry = preparation(
        "SELECT id, a, b FROM facts",
        target="delay > 15",
        at="TIMESTAMP '2026-01-01' + hours * INTERVAL 1 HOUR",
        after=("y", "delay"),
        splits=CutSplits({"train": "rest"}),
    )
    made = prepare(tmp_path, entry, table)
    assert made.recipe.dropped == {"no target": ROWS // 10, "no moment of prediction": ROWS // 10}
    for row in made.table.to_pylist():
        assert row["target"] == (row["id"] % 40 > 15)
