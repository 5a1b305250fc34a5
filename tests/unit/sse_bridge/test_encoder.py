from __future__ import annotations

import json
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sse_bridge import encoder
from tests.unit.sse_bridge.whatwg import EventStreamParser

NASTY = st.text(st.one_of(st.characters(codec="utf-8"), st.sampled_from("\r\n\0:\u2028\u2029\x85 \ufeff")))


def as_received(text: str) -> str:
    """Return the text as a client receives it: every line break is a line feed."""
    return re.sub("\r\n|\r|\n", "\n", text)


@given(st.lists(st.tuples(NASTY, NASTY, NASTY), max_size=4), st.integers(1, 7))
@example([("progress", "a\r", "1"), ("x", "\nb", "2")], 1)
@example([("progress", "\ufeff{}", "1")], 3)
def test_framed_events_are_parsed_unchanged(events: list[tuple[str, str, str]], piece: int) -> None:
    stream = b": first\n" + b"".join(
        encoder.frame(name, data.encode(), cursor=cursor) + encoder.HEARTBEAT for name, data, cursor in events
    )
    client = EventStreamParser()
    for begin in range(0, len(stream), piece):
        client.feed(stream[begin : begin + piece])
    clean = [(re.sub("[\r\n\0]", "", n), d, re.sub("[\r\n\0]", "", c)) for n, d, c in events]
    want = [(name or "message", as_received(data), cursor) for name, data, cursor in clean]
    assert [(m.type, m.data, m.last_event_id) for m in client.messages] == want
    assert client.comments == 1 + len(events)
    if events:
        assert client.last_event_id == clean[-1][2]


@given(NASTY, NASTY)
def test_no_field_leaks_into_the_next_event(text: str, cursor: str) -> None:
    evil = f"{text}\n\nevent: forged\ndata: {text}\r\rid: 9\n\n"
    client = EventStreamParser()
    client.feed(encoder.frame("progress", evil.encode(), cursor=cursor + evil) + encoder.frame("end", b"{}"))
    assert [m.type for m in client.messages] == ["progress", "end"]


@given(st.binary())
def test_bytes_that_are_not_utf_8_stay_within_their_event(data: bytes) -> None:
    client = EventStreamParser()
    client.feed(encoder.frame("progress", b"x" + data) + encoder.frame("end", b"{}"))
    assert [m.type for m in client.messages] == ["progress", "end"]


def test_an_id_alone_moves_the_cursor_and_fires_no_event() -> None:
    client = EventStreamParser()
    client.feed(encoder.id_only("abc.1.2") + encoder.HEARTBEAT)
    assert client.messages == []
    assert client.last_event_id == "abc.1.2"


def test_the_opening_comment_sets_the_reconnection_time() -> None:
    client = EventStreamParser()
    client.feed(encoder.comment("millrace\nevent: x", retry_ms=3210) + encoder.frame("a", b"1", retry_ms=99))
    assert client.comments == 1
    assert client.reconnection_time_ms == 99
    assert [m.type for m in client.messages] == ["a"]


@pytest.mark.parametrize("pretty", [True, False])
def test_json_lines_have_one_object_each(pretty: bool) -> None:
    event = {"message": "a\nb\u2028c", "n": [1, 2]}
    raw = json.dumps(event, indent=2 if pretty else None, ensure_ascii=False).encode()
    line = encoder.one_line(raw)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert json.loads(line) == event


def test_json_of_one_line_is_not_encoded_again() -> None:
    assert encoder.one_line(b'{"a":  1}') == b'{"a":  1}\n'
