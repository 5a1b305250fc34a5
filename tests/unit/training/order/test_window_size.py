"""The default window: the largest of 4, 2 and 1 chunks that fits into the room for two windows of all lanes."""

from __future__ import annotations

import pytest

from millrace.training.order import default_window_chunks


@pytest.mark.parametrize(
    ("chunk_bytes", "lanes", "window_chunks"),
    [
        (4_000_000, 8, 4),
        (4_000_001, 8, 2),
        (8_000_000, 8, 2),
        (8_000_001, 8, 1),
        (500_000_000, 8, 1),
        (32_000_000, 1, 4),
    ],
)
def test_the_window_depends_on_mean_chunk_and_lanes(chunk_bytes: int, lanes: int, window_chunks: int) -> None:
    assert default_window_chunks(chunk_bytes * 10, 10, lanes) == window_chunks


def test_an_empty_version_has_the_largest_window() -> None:
    assert default_window_chunks(0, 0, 8) == 4
