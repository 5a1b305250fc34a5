"""Blocks are parsed ahead with the current types, and again once an earlier block widened them."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
import pytest

from millrace.arrow import Path
from millrace.errors import SourceFormatError, SourceTypeError
from millrace.sources.text.blocks import Block
from millrace.sources.text.typed_blocks import TypedBlocks, Types

INTEGERS: Types = {"a": pa.int64()}
DOUBLES: Types = {"a": pa.float64()}


class Numbers:
    """A parser of numbers separated by spaces, which widens integers to doubles and counts its calls by block."""

    errors = (pa.ArrowInvalid,)

    def __init__(self) -> None:
        self.parsed_wider: Counter[int] = Counter()

    def parse(self, block: Block, types: Types) -> pa.RecordBatch:
        if block.data == b"bug":
            raise ZeroDivisionError
        texts = pa.array(block.data.decode().split())
        return pa.RecordBatch.from_arrays([texts.cast(types["a"])], names=["a"])

    def parse_wider(self, block: Block, types: Types) -> tuple[pa.RecordBatch, Types]:
        self.parsed_wider[block.offset] += 1
        for candidate in (types, DOUBLES):
            try:
                return self.parse(block, candidate), candidate
            except pa.ArrowInvalid:
                continue
        raise SourceFormatError(f"block {block.offset} has no numbers")

    def changed_number(self, block: Block, path: Path, values: pa.Array) -> SourceTypeError | None:
        return SourceTypeError(f"block {block.offset} has a number that is rounded")


def blocks(*texts: bytes) -> list[Block]:
    return [Block(0, text, number, 0, 0) for number, text in enumerate(texts)]


def read(parser: Numbers, *texts: bytes) -> list[pa.RecordBatch]:
    return [batch for _, batch in TypedBlocks(parser, INTEGERS, frozenset()).batches(blocks(*texts))]


def test_every_block_has_the_widest_type_of_the_blocks_up_to_it_in_their_order() -> None:
    batches = read(Numbers(), b"1 2", b"3", b"4.5", *[b"%d" % number for number in range(6, 40)])
    assert [batch.schema.field("a").type for batch in batches] == [pa.int64()] * 2 + [pa.float64()] * 35
    assert [value for batch in batches for value in batch.column("a").to_pylist()] == [1, 2, 3, 4.5, *range(6, 40)]


def test_a_block_that_fits_is_parsed_once() -> None:
    parser = Numbers()
    read(parser, *[b"1"] * 20)
    assert not parser.parsed_wider


def test_a_block_that_does_not_fit_and_those_parsed_before_it_widened_are_parsed_again_once() -> None:
    parser = Numbers()
    read(parser, b"1", b"2.5", *[b"3"] * 40)
    assert parser.parsed_wider[1] == 1
    assert set(parser.parsed_wider.values()) == {1}
    assert 0 not in parser.parsed_wider


def test_an_error_of_a_block_is_raised_after_the_rows_of_all_blocks_before_it() -> None:
    batches = TypedBlocks(Numbers(), INTEGERS, frozenset()).batches(blocks(b"1", b"2", b"no", b"3"))
    assert [next(batches)[0].offset for _ in range(2)] == [0, 1]
    with pytest.raises(SourceFormatError, match="block 2 has no numbers"):
        next(batches)


def test_any_other_error_of_the_parser_is_raised_unchanged() -> None:
    with pytest.raises(ZeroDivisionError):
        read(Numbers(), b"1", b"bug")


def test_an_integer_that_a_double_rounds_is_refused_once_its_column_becomes_doubles() -> None:
    assert len(read(Numbers(), b"9007199254740993", b"1")) == 2
    with pytest.raises(SourceTypeError, match="block 0 has a number that is rounded"):
        read(Numbers(), b"9007199254740993", b"1", b"2.5")


def test_a_column_with_a_given_type_may_be_rounded() -> None:
    typed = TypedBlocks(Numbers(), INTEGERS, frozenset({"a"}))
    assert len(list(typed.batches(blocks(b"9007199254740993", b"2.5")))) == 2
