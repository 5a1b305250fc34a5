"""Lines that are wrong alike are found together, and they are those that a search line by line finds."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from millrace.sources.jsonl import misfits
from millrace.sources.jsonl.misfits import LineRecordParser
from millrace.sources.jsonl.typed_parser import TypedLineParser
from millrace.sources.text.blocks import Block

TYPES = {"i": pa.int64(), "f": pa.float64(), "b": pa.bool_(), "s": pa.string(), "n": pa.null(), "t": pa.string()}
VALUES = st.sampled_from(
    [None, 1, -7, 1.5, 1e300, True, False, "", "x", '"i": "y"', [1], {"i": "x"}, {}, 2**70, "2026-11-22", "ü"]
)
LINES = st.one_of(
    st.dictionaries(st.sampled_from(sorted(TYPES)), VALUES).map(lambda row: json.dumps(row).encode()),
    st.integers(-9, 9).map(lambda number: b'{"i": %d, "f": 0.5, "b": true, "s": "a"}' % number),
    st.sampled_from(
        [
            b'{"i": 1',
            b'"f": 2}',
            b"[1]",
            b"7",
            b"  ",
            b' {"i": 1} ',
            b'{"i": 1.0}',
            b'{"\\u0069": "x"}',
            b'{"s": "\xff"}',
        ]
    ),
)


def misfit_rows(lines: list[bytes], *, widens: bool, given: tuple[str, ...]) -> set[int]:
    parser = LineRecordParser(TypedLineParser(None, {name: TYPES[name] for name in given}), widens=widens)
    data = b"".join(line + b"\n" for line in lines)
    return {misfit.row for misfit in parser.misfits(Block(0, data, 0, 0, 0), TYPES, ()).misfits}


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(LINES, min_size=1, max_size=12), st.booleans(), st.sampled_from([(), ("i", "t"), ("i", "f", "s", "t")]))
def test_the_misfits_are_those_of_a_search_alone(
    monkeypatch: pytest.MonkeyPatch, lines: list[bytes], widens: bool, given: tuple[str, ...]
) -> None:
    together = misfit_rows(lines, widens=widens, given=given)
    with monkeypatch.context() as patched:
        patched.setattr(misfits, "lines_alike", lambda *_lines, **_options: [])
        assert misfit_rows(lines, widens=widens, given=given) == together


@pytest.mark.parametrize("value", [b'"x7"', b"1.5", b"true", b"[]"])
def test_a_block_with_many_wrong_values_of_a_column_is_parsed_a_few_times(
    monkeypatch: pytest.MonkeyPatch, value: bytes
) -> None:
    parses: list[int] = []
    parse = TypedLineParser.parse

    def counted(parser: TypedLineParser, data: bytes, *given: object) -> pa.RecordBatch:
        parses.append(len(data))
        return parse(parser, data, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(TypedLineParser, "parse", counted)
    lines = [b'{"s": "a", "i": %b}' % (b"%d" % row if row % 10 else value) for row in range(2000)]
    assert misfit_rows(lines, widens=False, given=("i",)) == set(range(0, 2000, 10))
    assert len(parses) == 2
