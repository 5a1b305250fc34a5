"""Splits of a version: named ranges of its chunks, in the metadata of its schema.

The value is JSON: ``{"train": [0, 90], "test": [90, 100]}`` names the first chunk of each split and the one after its
last.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import pyarrow as pa

from millrace.errors import ChunkFormatError, UsageError
from millrace.names import nearest

SPLITS_KEY: Final = b"millrace.splits"


def splits_of(schema: pa.Schema) -> dict[str, range]:
    """Return the range of chunks of each split; none if the version has no splits.

    Raises ``ChunkFormatError`` for metadata that is not in the form above.
    """
    text = (schema.metadata or {}).get(SPLITS_KEY)
    if text is None:
        return {}
    try:
        return {name: _chunks(bounds) for name, bounds in json.loads(text).items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise ChunkFormatError(f"the splits in the metadata of the schema are damaged ({error})") from None


def with_splits(schema: pa.Schema, splits: Mapping[str, range]) -> pa.Schema:
    """Return the schema with the splits in its metadata."""
    bounds = {name: [chunks.start, chunks.stop] for name, chunks in splits.items()}
    metadata = {**(schema.metadata or {}), SPLITS_KEY: json.dumps(bounds, separators=(",", ":")).encode()}
    return schema.with_metadata(metadata)


def split_chunks(schema: pa.Schema, split: str | None, chunks: int, reference: str) -> range:
    """Return the chunks of a split of a version with this number of chunks; all of them if it has no splits.

    Raises ``UsageError`` for a name that is no split, and for None where the version has splits.
    """
    splits = splits_of(schema)
    if split is None and not splits:
        return range(chunks)
    if split not in splits:
        raise _refused(split, list(splits), reference)
    chosen = splits[split]
    if chosen.stop > chunks:
        raise ChunkFormatError(
            f"the split {split!r} of {reference} ends at chunk {chosen.stop}, but the version has {chunks} chunks"
        )
    return chosen


def _chunks(bounds: Any) -> range:
    first, end = bounds
    if type(first) is not int or type(end) is not int or not 0 <= first <= end:
        raise ValueError(f"{bounds} is not a range of chunks")
    return range(first, end)


def _refused(split: str | None, splits: list[str], reference: str) -> UsageError:
    names = ", ".join(map(repr, splits))
    if split is None:
        return UsageError(f"{reference} has splits, and none is chosen", hint=f"use split= with one of {names}")
    if not splits:
        return UsageError(f"{reference} has no splits, so none is named {split!r}", hint="leave out split=")
    near = nearest(split, splits, at_most=1)
    hint = f"did you mean {near[0]!r}? its splits are {names}" if near else f"its splits are {names}"
    return UsageError(f"{reference} has no split {split!r}", hint=hint)
