"""The first blocks of text files, from which types are inferred, and the byte ranges in which the files can be read."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import replace

from millrace.sources.io.byte_streams import read_fully
from millrace.sources.io.streams import can_be_split, open_decompressed
from millrace.sources.model import FilePart, SourceFile
from millrace.sources.options import SourceOptions
from millrace.sources.splits import Unit
from millrace.sources.text import blocks
from millrace.sources.text.blocks import Block
from millrace.sources.text.decoding import TextFiles, can_be_cut
from millrace.sources.text.records import count_lines, record_ends, scan_quotes

BlocksOf = Callable[[list[FilePart], int], Generator[Block, None, None]]
"""A function that yields the blocks of some parts, each of about as many bytes as its second argument."""


def first_blocks(
    files: tuple[SourceFile, ...], options: SourceOptions, blocks_of: BlocksOf, delimiter: str | None
) -> Iterator[Block]:
    """Yield blocks of the whole records within the first ``infer_bytes``, which all files share; at least one each."""
    left = options.infer_bytes
    for number in range(len(files)):
        share, used = left // (len(files) - number), 0
        block_bytes = min(blocks.BLOCK_BYTES, max(share, 1))
        with closing(blocks_of([FilePart(number, 0, -1)], block_bytes)) as file_blocks:
            for block in file_blocks:
                data = _within(block.data, share - used, delimiter, keep_one=used == 0)
                if data:
                    yield replace(block, data=data)
                used += len(block.data)
                if used >= share or len(data) < len(block.data):
                    break
        left -= min(used, share)


def _within(data: bytes, limit: int, delimiter: str | None, *, keep_one: bool) -> bytes:
    """Return the records of ``data`` that end within ``limit`` bytes; with ``keep_one`` at least the first one."""
    if len(data) <= limit:
        return data
    scan = None if delimiter is None else scan_quotes(data, delimiter)
    ends = record_ends(data, scan)
    fitting = ends[ends <= limit]
    if len(fitting):
        return data[: int(fitting[-1])]
    if not keep_one:
        return b""
    return data[: int(ends[0])] if len(ends) else data


def text_units(files: tuple[SourceFile, ...], options: SourceOptions, delimiter: str | None) -> list[Unit]:
    """Return ranges of whole records; files that are small, compressed or cannot be cut are one range each."""
    return [unit for number in range(len(files)) for unit in _units_of(number, files, options, delimiter)]


def _units_of(
    number: int, files: tuple[SourceFile, ...], options: SourceOptions, delimiter: str | None
) -> Iterator[Unit]:
    file = files[number]
    if (
        options.max_splits == 1
        or file.size_bytes <= options.split_bytes
        or not can_be_cut(options)
        or not can_be_split(file)
    ):
        yield Unit(number, 0, -1, file.size_bytes)
        return
    with closing(open_decompressed(file)) as stream:
        # A byte order mark before the first quote would hide that this quote opens a field.
        mark = 3 if read_fully(stream, 3) == b"\xef\xbb\xbf" else 0
    start, line = 0, 1
    with closing(open_decompressed(file, mark, file.size_bytes)) as stream:
        block_bytes = min(blocks.BLOCK_BYTES, options.split_bytes)
        cutter = TextFiles(files, options, open_decompressed, delimiter).cutter(number, stream, 0, block_bytes)
        for block in cutter.blocks():
            stop = mark + block.offset + len(block.data)
            yield Unit(number, start, stop, stop - start, line=line)
            start, line = stop, 1 + block.lines_before + count_lines(block.data)
    if start < file.size_bytes:
        yield Unit(number, start, file.size_bytes, file.size_bytes - start, line=line)
