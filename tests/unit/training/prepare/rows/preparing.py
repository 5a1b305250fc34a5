"""Run preparations over Arrow tables, for the tests of prepared rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from millrace.dataset import Recipe
from millrace.progress import null_task
from millrace.training.prepare import HashSplits, Preparation
from millrace.training.prepare.engine import Engine, Scratch
from millrace.training.prepare.query import check_query
from millrace.training.prepare.rows import PreparedRows, make_recipe, make_rows

SPLITS = HashSplits({"train": 0.6, "val": 0.2, "test": 0.2})


def preparation(query: str = "SELECT * FROM facts", **fields: Any) -> Preparation:
    """Return a preparation of one input ``facts`` with the columns id, y and features, unless fields differ."""
    given = {"inputs": {"facts": "facts"}, "key": ("id",), "target": "y", "after": ("y",), "splits": SPLITS, **fields}
    return Preparation(name="made", query=query, **given)


@dataclass(frozen=True)
class Prepared:
    rows: PreparedRows
    splits: Mapping[str, pa.Table]
    recipe: Recipe

    @property
    def table(self) -> pa.Table:
        return pa.concat_tables(self.splits.values())

    def split_of(self, *key: str) -> dict[Any, str]:
        """Return the split of each row by its key."""
        return {
            tuple(row[name] for name in key): split
            for split, table in self.splits.items()
            for row in table.select(key).to_pylist()
        }


@contextmanager
def made_rows(
    folder: Path,
    entry: Preparation,
    tables: Mapping[str, pa.Table],
    *,
    earlier: Recipe | None = None,
    threads: int = 2,
    memory_bytes: int = 300_000_000,
) -> Iterator[PreparedRows]:
    """Give the prepared rows, within the time of the engine."""
    query = check_query(entry, {alias: table.schema for alias, table in tables.items()})
    with (
        Scratch(folder, name=entry.name) as scratch,
        Engine(scratch, memory_bytes=memory_bytes, threads=threads) as engine,
    ):
        for alias, need in query.needs.items():
            hidden = entry.after if alias == entry.main else ()
            engine.add_input(alias, tables[alias].select(need.columns).to_reader(), hidden=hidden)
        engine.run_query(query)
        yield make_rows(engine, entry, query, {} if earlier is None else earlier.categories, null_task())


def prepare(
    folder: Path,
    entry: Preparation,
    tables: Mapping[str, pa.Table] | pa.Table,
    *,
    batch_rows: int = 4096,
    **options: Any,
) -> Prepared:
    """Return the whole prepared data; one table is the input ``facts``."""
    inputs = {"facts": tables} if isinstance(tables, pa.Table) else tables
    with made_rows(folder, entry, inputs, **options) as rows:
        batches: dict[str, list[pa.RecordBatch]] = {name: [] for name in rows.split_rows}
        statistics = rows.statistics()
        for split, batch in rows.batches(batch_rows=batch_rows):
            batches[split].append(batch)
            if split == "train":
                statistics.add(batch)
        recipe = make_recipe(
            entry, rows, statistics.figures(), inputs={"facts": "facts@1-aaaaaa"}, duckdb="2", algorithm=1
        )
        splits = {name: pa.Table.from_batches(parts, rows.schema) for name, parts in batches.items()}
    return Prepared(rows, splits, recipe)
