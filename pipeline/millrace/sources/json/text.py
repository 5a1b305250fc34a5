"""The JSON documents of a source as text files of JSON lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import NamedTuple

from millrace.sources.io.byte_streams import ByteStream, Opener
from millrace.sources.json.document import Document, read_document
from millrace.sources.json.lines import ElementLines
from millrace.sources.json.records import jq_query, records_range
from millrace.sources.model import SourceFile
from millrace.sources.options import SourceOptions
from millrace.sources.text.blocks import Block
from millrace.sources.text.decoding import TextFiles


class _OpenDocument(NamedTuple):
    """The document of the file ``number``, and the offsets between which its records are."""

    number: int
    document: Document
    start: int
    stop: int


class DocumentFiles(TextFiles):
    """The files of a source of JSON documents, opened as JSON lines; the latest document stays in memory."""

    def __init__(self, files: tuple[SourceFile, ...], options: SourceOptions, opener: Opener) -> None:
        super().__init__(files, options, opener, None)
        self._records = options.records
        self._max_bytes = options.max_unit_bytes
        self._latest: _OpenDocument | None = None

    def open(self, number: int, start: int = 0, stop: int = -1) -> ByteStream:
        """Open the elements of a file's array, each on one line; the file is read whole."""
        self._latest = None  # each reader reads the file itself, for its checksum
        opened = self._document(number)
        return ElementLines(opened.document, opened.start, opened.stop)

    def line_of(self, block: Block, offset: int = 0) -> int:
        """Return the line of the file, from 1, in which the element at ``offset`` of a block begins."""
        opened = self._document(block.file)
        return opened.document.line_at(opened.start + block.offset + offset)

    def lines_of(self, block: Block, offsets: Iterable[int]) -> Iterator[int]:
        """Yield the lines of the file in which the elements at these ascending offsets of a block begin."""
        return (self.line_of(block, offset) for offset in offsets)

    def _document(self, number: int) -> _OpenDocument:
        if self._latest is None or self._latest.number != number:
            self._latest = None  # two documents would take twice the memory
            with closing(super().open(number)) as stream:
                document = read_document(self.files[number], stream, self._max_bytes, jq_query(self._records))
            self._latest = _OpenDocument(number, document, *records_range(document, self._records))
        return self._latest
