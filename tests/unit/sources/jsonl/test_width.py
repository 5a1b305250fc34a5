"""JSON lines with very many keys: read in bounded memory, or refused with the number of keys."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from millrace.errors import SourceTooLargeError
from millrace.sources import SourceFile
from millrace.sources.jsonl import width as jsonl_width
from millrace.sources.text.blocks import Block

Read = Callable[..., pa.Table]
Write = Callable[[str, bytes], Path]


def ids(count: int, *, within: bool) -> bytes:
    form = b'{"m":{"u%05d":%d}}\n' if within else b'{"u%05d":%d}\n'
    return b"".join(form % (number, number) for number in range(count))


def test_keys_that_are_identifiers_are_refused_with_their_number_and_kept_as_text(write: Write, read: Read) -> None:
    path = write("inner.jsonl", ids(6_000, within=True))
    with pytest.raises(SourceTooLargeError) as refused:
        read(path)
    assert "inner.jsonl: column 'm' has " in str(refused.value)
    assert "different keys in the first" in str(refused.value)
    assert "--column-type m=string" in str(refused.value)
    assert "\n" not in str(refused.value)
    table = read(path, column_types=(("m", "string"),))
    assert table.num_rows == 6_000
    assert table.column("m")[5_999].as_py() == '{"u05999":5999}'
    with pytest.raises(SourceTooLargeError, match=r"outer.jsonl: the first .* lines have .* different keys; .*jq -c"):
        read(write("outer.jsonl", ids(6_000, within=False)))


def test_a_few_hundred_keys_that_most_lines_lack_are_columns(write: Write, read: Read) -> None:
    table = read(write("sparse.jsonl", ids(400, within=True)))
    assert table.column("m").combine_chunks().field(399).to_pylist() == [None] * 399 + [399]


def test_more_columns_than_a_loader_can_hold_are_refused() -> None:
    types = {"a": pa.struct([(f"k{number}", pa.int64()) for number in range(21)])}
    file = SourceFile("/one.jsonl", "one.jsonl", 200, 0)
    with pytest.raises(SourceTooLargeError, match=r"column 'a' has 21 different keys in the first 1 lines"):
        jsonl_width.refuse_width(types, 1, 200, file, leaves_max=20)


def test_a_block_is_cut_by_lines_until_no_piece_has_too_many_cells() -> None:
    block = Block(0, ids(3_000, within=False), 7, 2, 99)
    pieces = list(jsonl_width.narrow_pieces(block))
    assert b"".join(piece.data for piece in pieces) == block.data
    assert all(piece.data.count(b"{") * piece.data.count(b":") <= 2_000_000 for piece in pieces)
    assert (pieces[1].offset, pieces[1].lines_before) == (7 + len(pieces[0].data), 2 + pieces[0].data.count(b"\n"))
    assert list(jsonl_width.narrow_pieces(Block(0, ids(1, within=True) * 1000, 0, 0, 0), width=1)) == [
        Block(0, ids(1, within=True) * 1000, 0, 0, 0)
    ]
