"""Splits of a version, such as train and test: ranges of its chunks, named in the metadata of its schema."""

from __future__ import annotations

import json
from typing import Final

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
        return {str(name): range(int(first), int(end)) for name, (first, end) in json.loads(stored).items()}
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
