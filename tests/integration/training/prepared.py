"""A small version of training data in the store, made by hand as a preparation stores it."""

from __future__ import annotations

from uuid import uuid4

import pyarrow as pa

from millrace.api import Store
from millrace.dataset import with_splits
from millrace.load import LoadOptions
from tests.unit.training.models.small import CARRIERS, raw_rows, small_recipe

RAW = raw_rows(60_000)


def load_prepared(store: Store) -> str:
    """Load ``RAW`` with codes in place of categories, splits of whole chunks, and a recipe; return the reference."""
    name = f"late_{uuid4().hex[:8]}"
    codes = {value: code for code, value in enumerate(CARRIERS, 1)}
    table = RAW.set_column(2, "carrier", pa.array([codes.get(v, 0) for v in RAW["carrier"].to_pylist()], pa.uint16()))
    options = LoadOptions(chunk_bytes=65_536)
    chunks = store.load(name, table, options).chunks
    assert chunks >= 5
    train_end, val_end = round(chunks * 0.6), round(chunks * 0.8)
    splits = {"train": range(train_end), "val": range(train_end, val_end), "test": range(val_end, chunks)}
    report = store.load(name, table.cast(with_splits(small_recipe().with_recipe(table.schema), splits)), options)
    assert report.chunks == chunks
    return report.reference
