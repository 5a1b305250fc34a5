"""The cut of a sorted stream into batches of one split and of equal length."""

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.training.prepare.rows.stream import cut_by_split


@given(
    st.lists(st.integers(0, 9), max_size=8),
    st.lists(st.integers(1, 12), min_size=1, max_size=3),
    st.integers(1, 10),
)
@settings(max_examples=200, deadline=None)
def test_the_cuts_of_the_source_do_not_matter(sizes: list[int], splits: list[int], batch_rows: int) -> None:
    total = sum(splits)
    sizes = [*sizes, total]
    source, start = [], 0
    for size in sizes:
        end = min(total, start + size)
        source.append(pa.record_batch({"i": pa.array(range(start, end), pa.int64())}))
        start = end
    rows = {f"s{i}": count for i, count in enumerate(splits)}
    cut = list(cut_by_split(source, rows, batch_rows=batch_rows))
    assert [value for _, batch in cut for value in batch["i"].to_pylist()] == list(range(total))
    for name, count in rows.items():
        lengths = [batch.num_rows for split, batch in cut if split == name]
        assert sum(lengths) == count
        assert all(length == batch_rows for length in lengths[:-1])
        assert 0 < lengths[-1] <= batch_rows
