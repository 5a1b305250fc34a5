"""The recipe of a version of training data: how it was made, in the metadata of its schema (docs/format.md)."""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final

import pyarrow as pa
from isal import isal_zlib

from millrace.errors import ChunkFormatError, UsageError

RECIPE_KEY: Final = b"millrace.recipe"
"""The key of the schema's metadata. The value is the base64 text of gzip of JSON."""
TARGET: Final = "target"
"""The name of the stored column that has the target."""
RECIPE_BYTES_MAX: Final = 900_000
"""Bytes of the compressed recipe."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """The facts of a preparation that readers of its version need; every field is plain JSON.

    All figures are those of the split ``train`` alone, except ``splits``.
    """

    algorithm: int
    """The number of the preparation's algorithm."""
    duckdb: str
    """The version of DuckDB that ran the query."""
    entry: Mapping[str, Any]
    """The fields of the declaration that can change rows or recipe (``Preparation.row_fields``)."""
    inputs: Mapping[str, str]
    """The exact version of each input by its alias, such as ``flights@12-3fa9c1``."""
    seed: int
    key: tuple[str, ...]
    features: tuple[str, ...]
    """The columns that a model reads, in the order of the schema. ``training()`` gives tensors by their names, and
    all others in matrices."""
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """The shape of a row of each tensor column."""
    categories: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """The values of each category: the value at position i has the code i + 1. Code 0 is a value that is not here."""
    classes: tuple[Any, ...] | None = None
    """The classes of the target, sorted: the target is stored as such a value. None for a target that is a number."""
    class_weights: tuple[float, ...] | None = None
    """The weight of each class: rows / (classes * rows of the class)."""
    nulls: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """The rule of each column with one: ``{"rule": "mean" | "drop" | "indicator" | "value", "value": ...}``.

    ``value`` is the one by which ``training()`` replaces nulls; it is absent for ``drop`` and ``indicator``.
    """
    splits: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """For each split: ``rows``, and ``classes`` with the rows of each class in the order of ``classes`` (or null)."""
    statistics: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """For each feature: ``count``, ``nulls``, ``mean``, ``std`` (population), ``min``, ``max``."""
    dropped: Mapping[str, int] = field(default_factory=dict)
    """Rows that were dropped, by reason."""
    rows_in: int = 0
    """Rows of the main input."""
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return every field as plain JSON."""
        return asdict(self)

    def compressed(self) -> bytes:
        """Return gzip of the JSON; recipes with equal fields in equal order have equal bytes."""
        # The keys are not sorted, because the order of the splits is that of the declaration.
        text = json.dumps(self.to_json(), separators=(",", ":"), ensure_ascii=False)
        return bytes(isal_zlib.compress(text.encode(), 1, wbits=31))

    def with_recipe(self, schema: pa.Schema) -> pa.Schema:
        """Return the schema with this recipe in its metadata.

        Raises ``UsageError`` with the column of the most categories if the recipe is too large.
        """
        data = self.compressed()
        if len(data) > RECIPE_BYTES_MAX:
            column, values = max(self.categories.items(), key=lambda item: len(item[1]), default=("none", ()))
            raise UsageError(
                f"the recipe has {len(data):,} bytes compressed, and at most {RECIPE_BYTES_MAX:,} are possible; the "
                f"column {column!r} has {len(values):,} categories",
                hint="leave the column out of categories, or group its values in the query",
                column=column,
            )
        return schema.with_metadata({**(schema.metadata or {}), RECIPE_KEY: base64.b64encode(data)})


def recipe_of(schema: pa.Schema) -> Recipe | None:
    """Return the recipe in the metadata of a schema, or None; raise ``ChunkFormatError`` for one of another form."""
    stored = (schema.metadata or {}).get(RECIPE_KEY)
    return None if stored is None else _decoded(stored)


def _decoded(stored: bytes) -> Recipe:
    known = {item.name for item in fields(Recipe)}
    try:
        values = json.loads(gzip.decompress(base64.b64decode(stored)))
        return Recipe(**{name: _frozen(value) for name, value in values.items() if name in known})
    except (ValueError, TypeError, AttributeError, EOFError, OSError, zlib.error) as error:
        raise ChunkFormatError(f"the schema's metadata {RECIPE_KEY.decode()} is invalid ({error})") from None


def _frozen(value: Any) -> Any:
    """Return a value of JSON with tuples in the place of lists."""
    if isinstance(value, list):
        return tuple(map(_frozen, value))
    return {name: _frozen(item) for name, item in value.items()} if isinstance(value, dict) else value


def without_recipe(schema: pa.Schema) -> pa.Schema:
    """Return the schema without the recipe, for batches: one may have a megabyte."""
    metadata = {key: value for key, value in (schema.metadata or {}).items() if key != RECIPE_KEY}
    return schema.with_metadata(metadata or None)
