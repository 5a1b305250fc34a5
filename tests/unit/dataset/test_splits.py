"""Splits in the metadata of a version's schema."""

from __future__ import annotations

import pyarrow as pa
import pytest

from millrace.dataset.splits import METADATA_KEY, split_chunks, splits_of
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
