"""Splits in the metadata of a version's schema."""

from __future__ import annotations

import pyarrow as pa
import pytest

from millrace.dataset.splits import METADATA_KEY, chosen_chunks, split_chunks, splits_of, with_splits
from millrace.errors import ChunkFormatError, UsageError


def schema_with(metadata: str) -> pa.Schema:
    return pa.schema([("a", pa.int8())], {METADATA_KEY: metadata})


def test_the_splits_of_a_schema_are_ranges_of_chunks() -> None:
    schema = schema_with('{"train": [0, 12], "test": [12, 15]}')
    assert splits_of(schema) == {"train": range(12), "test": range(12, 15)}
    assert split_chunks(schema, "test", "t@1-aaaaaa") == range(12, 15)


def test_a_schema_without_the_metadata_has_no_splits() -> None:
    assert splits_of(pa.schema([("a", pa.int8())])) == {}
    assert splits_of(pa.schema([("a", pa.int8())], {"other": "1"})) == {}


@pytest.mark.parametrize(
    ("metadata", "hint"),
    [
        ('{"train": [0, 12]}', r"t@1-aaaaaa has no split 'tran': did you mean 'train'\? its splits are train"),
        ("{}", "t@1-aaaaaa has no split 'tran': it has no splits"),
    ],
)
def test_an_unknown_split_is_refused_with_the_splits_that_exist(metadata: str, hint: str) -> None:
    with pytest.raises(UsageError, match=hint):
        split_chunks(schema_with(metadata), "tran", "t@1-aaaaaa")


@pytest.mark.parametrize("metadata", ["", "[]", "[1]", '{"train": 3}', '{"train": ["a", 2]}', '{"train": [1]}'])
def test_metadata_of_another_form_is_an_error(metadata: str) -> None:
    with pytest.raises(ChunkFormatError, match=r"millrace\.splits is invalid"):
        splits_of(schema_with(metadata))


def test_the_chunks_that_a_loader_reads_are_those_of_its_split() -> None:
    schema = with_splits(pa.schema([("a", pa.int8())], {"other": "1"}), {"train": range(12), "test": range(12, 15)})
    assert schema.metadata[b"other"] == b"1"
    assert chosen_chunks(schema, "test", 15, "t@1-aaaaaa") == range(12, 15)
    assert chosen_chunks(pa.schema([]), None, 15, "t@1-aaaaaa") == range(15)
    with pytest.raises(UsageError, match="t@1-aaaaaa has splits, and none is chosen: use split= with one of train, te"):
        chosen_chunks(schema, None, 15, "t@1-aaaaaa")
    with pytest.raises(UsageError, match="t@1-aaaaaa has no split 'x': it has no splits"):
        chosen_chunks(pa.schema([]), "x", 15, "t@1-aaaaaa")
    with pytest.raises(ChunkFormatError, match="'test' of t@1-aaaaaa ends at chunk 15, but the version has 14 chunks"):
        chosen_chunks(schema, "test", 14, "t@1-aaaaaa")


@pytest.mark.parametrize("metadata", ['{"train": [3, 1]}', '{"train": [-1, 2]}', '{"train": [0.5, 2]}'])
def test_bounds_that_are_no_range_of_chunks_are_an_error(metadata: str) -> None:
    with pytest.raises(ChunkFormatError, match=r"millrace\.splits is invalid"):
        splits_of(schema_with(metadata))
