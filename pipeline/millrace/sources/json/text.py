"""The JSON documents of a source as text files of JSON lines."""

from __future__ import annotations

from contextlib import closing

from millrace.sources.io.streams import ByteStream, Opener
from millrace.sources.json.document import Document, read_document
from millrace.sources.json.lines import ElementLines
from millrace.sources.json.records import jq_query, records_range
from millrace.sources.model import SourceFile
from millrace.sources.options import SourceOptions
from millrace.sources.text.blocks import Block
from millrace.sources.text.decoding import TextFiles


class DocumentFiles(TextFiles):
    """The files of a source of JSON documents, opened as JSON lines; the latest document stays in memory."""

    def __init__(self, files: tuple[SourceFile, ...], options: SourceOptions, opener: Opener) -> None:
        super().__init__(files, options, opener, None)
        self._records = options.records
        self._max_bytes = options.max_unit_bytes
        self._latest: tuple[int, Document] | None = None

    def open(self, number: int, start: int = 0, stop: int = -1) -> ByteStream:
        """Open the elements of a file's array, each on one line; the file is read whole."""
        self._latest = None  # two documents would take twice the memory
        document = self._document(number)
        self._latest = number, document
        return ElementLines(document, *records_range(document, self._records))

    def line_of(self, block: Block, offset: int = 0) -> int:
        """Return the line of the file, from 1, in which the element at ``offset`` of a block begins."""
        document = self._document(block.file)
        start, _ = records_range(document, self._records)
        return document.line_at(start + block.offset + offset)

    def _document(self, number: int) -> Document:
        if self._latest is not None and self._latest[0] == number:
            return self._latest[1]
        with closing(super().open(number)) as stream:
            return read_document(self.files[number], stream, self._max_bytes, jq_query(self._records))
