"""The chunks of a split, over the borders of manifest pages."""

from __future__ import annotations

import pyarrow as pa
import pytest

from millrace.training.manifest import SplitManifest
from tests.unit.training.in_memory import MemoryDataset, numbered

ROWS = [4, 7, 1, 9, 3, 8, 2, 6, 5, 10, 11, 12]


@pytest.mark.parametrize("chunks", [range(12), range(3, 4), range(4, 11), range(5, 10), range(12, 12)])
def test_the_chunks_of_a_split_are_found_in_all_pages(chunks: range) -> None:
    manifest = SplitManifest(numbered(ROWS), chunks)
    assert manifest.chunk_rows().tolist() == ROWS[chunks.start : chunks.stop]
    assert {index: ref.chunk for index, ref in manifest.refs(range(len(chunks))).items()} == dict(enumerate(chunks))
    assert {index: ref.rows for index, ref in manifest.refs([1, 6]).items()} == {
        index: ROWS[chunks[index]] for index in (1, 6) if index < len(chunks)
    }


def test_nulls_are_counted_in_the_chunks_of_the_split() -> None:
    batches = [pa.record_batch([pa.array([None] * nulls + [1] * 5, pa.int32())], ["n"]) for nulls in range(12)]
    dataset = MemoryDataset(batches)
    assert SplitManifest(dataset, range(12)).null_counts(["n"]) == {"n": 66}
    assert SplitManifest(dataset, range(4, 7)).null_counts(["n"]) == {"n": 15}
    assert SplitManifest(dataset, range(1)).null_counts(["n", "unknown"]) == {"n": 0}


def test_chunks_that_are_older_than_a_column_hold_its_nulls() -> None:
    dataset = numbered(ROWS)
    dataset.schema = dataset.schema.append(pa.field("new", pa.int8()))
    assert SplitManifest(dataset, range(2)).null_counts(["row", "new"]) == {"row": 0, "new": 11}
