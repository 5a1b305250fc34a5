"""Hypothesis strategies for orders and cases."""

from __future__ import annotations

from hypothesis import strategies as st

from millrace.training.order import OrderSpec, Shuffle, Tail
from tests.unit.training.memory_loader import Case

CHUNK_ROWS = st.lists(st.integers(0, 25), min_size=1, max_size=12).filter(lambda rows: sum(rows) > 0).map(tuple)


@st.composite
def specs(draw: st.DrawFn) -> OrderSpec:
    return OrderSpec(
        version=draw(st.sampled_from(["flights@12-3fa9c1", "flights@13-77aa01"])),
        split=draw(st.sampled_from([None, "train"])),
        seed=draw(st.integers(0, 2**63 - 1)),
        lanes=draw(st.integers(1, 8)),
        shuffle=draw(st.sampled_from(Shuffle)),
        window_chunks=draw(st.integers(1, 5)),
    )


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A case with at least one batch: a full one, where short ones are dropped, and no empty lane, where lanes pad."""
    spec, chunk_rows, tail = draw(specs()), draw(CHUNK_ROWS), draw(st.sampled_from(Tail))
    shortest = sum(chunk_rows) // spec.lanes
    if not shortest and tail is not Tail.UNEVEN:
        chunk_rows, shortest = (*chunk_rows, spec.lanes), (sum(chunk_rows) + spec.lanes) // spec.lanes
    most = max(1, shortest) if tail is Tail.DROP_LAST else max(1, shortest) + 3
    lane_batch_rows, resume_lane_batch_rows = draw(st.integers(1, most)), draw(st.integers(1, most))
    return Case(
        spec=spec,
        chunk_rows=chunk_rows,
        tail=tail,
        batch_rows=lane_batch_rows * spec.lanes,
        resume_batch_rows=resume_lane_batch_rows * spec.lanes,
        epoch=draw(st.integers(0, 5)),
        resume_after=draw(st.integers(0, 1000)),
    )
