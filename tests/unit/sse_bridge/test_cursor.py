from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sse_bridge.cursor import Cursor, parse_cursor


@given(st.text("0123456789abcdef", min_size=8, max_size=8), st.lists(st.integers(0, 2**62), min_size=1, max_size=64))
def test_a_cursor_is_unchanged_after_formatting_and_parsing(epoch: str, offsets: list[int]) -> None:
    cursor = Cursor(epoch, tuple(offsets))
    assert parse_cursor(str(cursor)) == cursor


@given(st.text())
def test_any_text_is_parsed_or_refused_without_an_error(text: str) -> None:
    cursor = parse_cursor(text)
    assert cursor is None or str(cursor) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", "abc", "205a2b53", "205a2b53.", "205a2b53.-1", "205a2b53.1.", "205A2B53.1", "205a2b53.01"),
        *("205a2b53.1\n", "205a2b53.²", "205a2b53." + "9" * 20, "205a2b53" + ".1" * 65),
    ],
)
def test_an_invalid_cursor_is_refused(text: str) -> None:
    assert parse_cursor(text) is None
