from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from millrace.sources.text import records
from millrace.sources.text.records import (
    count_lines,
    first_record_end,
    is_inside_at,
    last_record_end,
    record_ends,
    record_starts,
    scan_quotes,
)

TEXT = st.text(alphabet='ab,"\n\r ', max_size=80).map(str.encode)


def by_hand(data: bytes) -> tuple[list[int], int]:
    """Return the record ends and the offset of an unclosed quote (or -1), parsed byte by byte as in pyarrow."""
    ends, opened, state, at = [], -1, "start", 0
    while at < len(data):
        sign = data[at : at + 1]
        if state == "quoted":
            if sign == b'"':
                if data[at + 1 : at + 2] == b'"':
                    at += 1
                else:
                    state, opened = "field", -1
        elif sign == b'"' and state == "start":
            state, opened = "quoted", at
        elif sign == b",":
            state = "start"
        elif sign in (b"\n", b"\r"):
            if not (sign == b"\r" and data[at + 1 : at + 2] == b"\n"):
                ends.append(at + 1)
            state = "start"
        else:
            state = "field"
        at += 1
    return ends, opened


@given(TEXT)
@example(b'"a\n"",b"\nc')
@example(b'a"b\n"c\n')
@example(b'a""b\n')
@example(b'"""\n"""\n')
@example(b'x,"a"b"\n"')
def test_record_ends_are_those_of_a_byte_by_byte_parser(data: bytes) -> None:
    ends, opened = by_hand(data)
    scan = scan_quotes(data, ",")
    assert record_ends(data, scan).tolist() == ends
    assert (-1 if scan is None else scan.opened_at()) == opened


@given(TEXT)
def test_the_last_record_end_waits_for_a_line_feed_after_a_carriage_return(data: bytes) -> None:
    ends, _ = by_hand(data)
    last_end = last_record_end(data, ",")
    feeds = [end for end in ends if data[end - 1 : end] == b"\n"]
    alone = [end for end in ends if data[end - 1 : end] == b"\r" and end < len(data)]
    assert last_end == (max(feeds) if feeds else max(alone, default=0))


@given(TEXT)
@example(b'"a\n"b')
def test_the_last_record_end_does_not_depend_on_the_size_of_the_searched_tail(data: bytes) -> None:
    expected = last_record_end(data, ",")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "_TAIL_BYTES", 5)
        assert last_record_end(data, ",") == expected


@given(TEXT)
@example(b'"""\n')
@example(b'a"""\n')
@example(b'"a""""\n')
@example(b'""""\n"\n')
def test_a_line_begins_inside_quotes_as_in_a_byte_by_byte_parser(data: bytes) -> None:
    for stop in range(1, len(data) + 1):
        if data[stop - 1 : stop] in (b"\n", b"\r"):
            assert is_inside_at(data, stop, ",") == (by_hand(data[:stop])[1] >= 0)


@given(TEXT, TEXT)
def test_a_cut_between_records_changes_no_record(first: bytes, second: bytes) -> None:
    data = first + second
    cut = last_record_end(first, ",")
    ends, _ = by_hand(data)
    assert cut == 0 or cut in ends


@given(TEXT)
def test_records_start_at_the_end_of_the_one_before_and_blank_lines_are_skipped(data: bytes) -> None:
    ends, _ = by_hand(data)
    expected = [at for at in [0, *ends] if at < len(data) and data[at : at + 1] not in (b"\n", b"\r")]
    assert record_starts(data, scan_quotes(data, ",")).tolist() == expected


@given(TEXT)
def test_the_first_record_ends_at_the_first_record_end_after_its_start(data: bytes) -> None:
    ends, _ = by_hand(data)
    starts = record_starts(data, scan_quotes(data, ",")).tolist()
    expected = next((end for end in [*ends, len(data)] if end > starts[0]), 0) if starts else 0
    assert first_record_end(data, ",", final=True) == expected


@given(TEXT)
def test_every_kind_of_line_end_counts_once(data: bytes) -> None:
    assert count_lines(data) == len(data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")) - len(
        data.replace(b"\r", b"").replace(b"\n", b"")
    )
