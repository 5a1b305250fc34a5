"""Splits of a version, such as train and test: ranges of its chunks, named in the metadata of its schema."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import pyarrow as pa

from millrace.errors import ChunkFormatError, UsageError
from millrace.names import nearest

METADATA_KEY: Final = b"millrace.splits"
"""The key of the schema's metadata. The value is JSON, as in ``{"train": [0, 12], "test": [12, 15]}``."""


def splits_of(schema: pa.Schema) -> dict[str, range]:
    """Return the chunks of each split by its name; empty if the version has no splits.

    Raises ``ChunkFormatError`` for metadata of another form.
    """
    stored = (schema.metadata or {}).get(METADATA_KEY)
    if stored is None:
        return {}
    try:
        return {name: _chunks(bounds) for name, bounds in json.loads(stored).items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise ChunkFormatError(f"the schema's metadata {METADATA_KEY.decode()} is invalid ({error})") from None


def split_chunks(schema: pa.Schema, split: str, reference: str) -> range:
    """Return the chunks of one split; raise ``UsageError`` if the version ``reference`` has no split of this name."""
    splits = splits_of(schema)
    if split in splits:
        return splits[split]
    near = nearest(split, list(splits), at_most=1)
    names = f"its splits are {', '.join(splits)}" if splits else "it has no splits"
    raise UsageError(
        f"{reference} has no split {split!r}", hint=f"did you mean {near[0]!r}? {names}" if near else names
    )


def chosen_chunks(schema: pa.Schema, split: str | None, chunks: int, reference: str) -> range:
    """Return the chunks of one split of a version with ``chunks`` chunks; all of them if it has no splits.

    Raises ``UsageError`` for a name that is no split, and for None where the version has splits.
    """
    if split is None:
        if names := list(splits_of(schema)):
            hint = f"use split= with one of {', '.join(names)}"
            raise UsageError(f"{reference} has splits, and none is chosen", hint=hint)
        return range(chunks)
    chosen = split_chunks(schema, split, reference)
    if chosen.stop > chunks:
        raise ChunkFormatError(
            f"the split {split!r} of {reference} ends at chunk {chosen.stop}, but the version has {chunks} chunks"
        )
    return chosen


def with_splits(schema: pa.Schema, splits: Mapping[str, range]) -> pa.Schema:
    """Return the schema with these splits in its metadata."""
    bounds = {name: [chunks.start, chunks.stop] for name, chunks in splits.items()}
    metadata = {**(schema.metadata or {}), METADATA_KEY: json.dumps(bounds, separators=(",", ":")).encode()}
    return schema.with_metadata(metadata)


def _chunks(bounds: Any) -> range:
    first, end = bounds
    if type(first) is not int or type(end) is not int or not 0 <= first <= end:
        raise ValueError(f"{bounds} is not a range of chunks")
    return range(first, end)
