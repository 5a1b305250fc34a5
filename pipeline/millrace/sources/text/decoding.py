"""Streams of text of any encoding decoded to UTF-8, and the text files of one source."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress

from millrace.errors import SourceFormatError, UsageError
from millrace.sources.io.byte_streams import ByteStream, Opener, StreamWrapper, read_fully
from millrace.sources.model import SourceFile, Split
from millrace.sources.options import SourceOptions
from millrace.sources.text import blocks
from millrace.sources.text.blocks import Block, RecordCutter
from millrace.sources.text.records import count_lines


def text_codec(encoding: str | None) -> str:
    """Return the codec's canonical name (``utf-8`` for all its spellings and for None).

    Raises ``UsageError`` for an unknown name and for a codec that is not one of text.
    """
    if encoding is None:
        return "utf-8"
    try:
        name = codecs.lookup(encoding).name
    except (LookupError, ValueError):
        raise UsageError(f"unknown encoding {encoding!r}", hint="use utf-8, latin-1, cp1252, utf-16, ...") from None
    with suppress(UnicodeError):
        try:
            "a".encode(name)
        except LookupError:
            raise UsageError(
                f"{encoding!r} is not an encoding of text", hint="use utf-8, latin-1, cp1252, utf-16, ..."
            ) from None
    return "utf-8" if name in ("utf-8", "utf-8-sig") else name


def can_be_cut(options: SourceOptions) -> bool:
    """Return whether an uncompressed file can be cut at line ends before its text is decoded.

    That is so for UTF-8 and for codecs with one byte for each character whose first 128 characters are ASCII.
    """
    if (codec := text_codec(options.encoding)) == "utf-8":
        return True
    try:
        every = bytes(range(256)).decode(codec, "replace")
        return len(every) == 256 and every[:128] == bytes(range(128)).decode("ascii")
    except (UnicodeError, LookupError):
        return False


class _Transcoded(StreamWrapper):
    """A stream of UTF-8 decoded from another encoding; bytes that do not decode raise ``SourceFormatError``."""

    def __init__(self, encoded: ByteStream, codec: str, name: str) -> None:
        super().__init__(encoded)
        self._decoder = codecs.getincrementaldecoder(codec)("strict")
        self._codec, self._name = codec, name
        self._done = False
        self._lines = 1

    def read(self, size: int) -> bytes:
        while not self._done:
            data = self._from.read(size)
            self._done = not data
            try:
                text = self._decoder.decode(data, final=self._done)
            except UnicodeError as error:
                reason = getattr(error, "reason", str(error))
                before = getattr(error, "object", b"")[: getattr(error, "start", 0)]
                line = self._lines + before.decode(self._codec, "replace").count("\n")
                raise SourceFormatError(
                    f"{self._name} is not {self._codec}: {reason}, at or after line {line}",
                    hint="give its encoding: --encoding NAME",
                    file=self._name,
                    line=line,
                ) from None
            self._lines += text.count("\n")
            if text:
                return text.encode()
        return b""


class _WithoutMark(StreamWrapper):
    """A UTF-8 stream without the byte order mark that the text may begin with."""

    def __init__(self, encoded: ByteStream) -> None:
        super().__init__(encoded)
        self._is_begun = False

    def read(self, size: int) -> bytes:
        data = self._from.read(size)
        if not self._is_begun:
            if 0 < len(data) < 3:
                data += read_fully(self._from, 3 - len(data))
            self._is_begun = True
            if data.startswith(codecs.BOM_UTF8):
                data = data[3:] or self._from.read(size)
        return data


def open_decoded(stream: ByteStream, codec: str, name: str, *, at_start: bool = True) -> ByteStream:
    """Return the stream's text as UTF-8, without a byte order mark when the stream is ``at_start`` of its file."""
    if codec != "utf-8":
        stream = _Transcoded(stream, codec, name)
    return _WithoutMark(stream) if at_start else stream


def not_utf8(data: bytes, name: str, line: int) -> SourceFormatError:
    """Return the error for text that is not UTF-8; ``line`` is that of the first byte of ``data``."""
    try:
        data.decode()
        offset, bad = 0, ""
    except UnicodeDecodeError as error:
        offset, bad = error.start, f" (byte 0x{data[error.start]:02x})"
    line += count_lines(data[:offset])
    likely = "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "latin-1"
    return SourceFormatError(
        f"{name}, line {line}: invalid UTF-8{bad}",
        hint=f"give its encoding, for example --encoding {likely}",
        file=name,
        line=line,
    )


class TextFiles:
    """The files of a CSV or JSON lines source, opened as UTF-8 and cut into records."""

    def __init__(
        self, files: tuple[SourceFile, ...], options: SourceOptions, opener: Opener, delimiter: str | None
    ) -> None:
        self.files = files
        self._options = options
        self._opener = opener
        self._delimiter = delimiter
        self._codec = text_codec(options.encoding)
        self._first_lines: dict[tuple[int, int], int] = {}

    def add_lines(self, splits: Iterable[Split]) -> None:
        """Add the numbers of the lines at which splits begin, so that no file is read to count them."""
        self._first_lines.update({(split.files[0], split.start): split.line for split in splits if split.line})

    def open(self, number: int, start: int = 0, stop: int = -1) -> ByteStream:
        """Open a file, or a byte range of it, as UTF-8; a ``stop`` below 0 means the end."""
        file = self.files[number]
        stream = self._opener(file, start, None if stop < 0 else stop)
        return open_decoded(stream, self._codec, file.name, at_start=start == 0)

    def cutter(self, number: int, stream: ByteStream, start: int = 0, block_bytes: int | None = None) -> RecordCutter:
        """Return a cutter of the records of a stream that begins at byte ``start`` of a file, after skipped lines.

        Its blocks have about ``block_bytes`` (None: ``BLOCK_BYTES``).
        """
        cutter = RecordCutter(
            stream,
            file=number,
            name=self.files[number].name,
            delimiter=self._delimiter,
            max_unit_bytes=self._options.max_unit_bytes,
            block_bytes=block_bytes or blocks.BLOCK_BYTES,
            stream_start=start,
            first_line=lambda: self.first_line(number, start),
        )
        if start == 0:
            cutter.skip_lines(self._options.skip_rows)
        return cutter

    def line_of(self, block: Block, offset: int = 0) -> int:
        """Return the line number, from 1, of the byte ``offset`` of a block; reads the file before the block."""
        lines_before = block.lines_before + count_lines(block.data[:offset])
        return self.first_line(block.file, block.stream_start) + lines_before

    def lines_of(self, block: Block, offsets: Iterable[int]) -> Iterator[int]:
        """Yield the line number of each of these ascending offsets of a block; each byte is counted once."""
        line, counted = self.line_of(block), 0
        for offset in offsets:
            line, counted = line + count_lines(block.data[counted:offset]), offset
            yield line

    def first_line(self, number: int, start: int) -> int:
        """Return the line number, from 1, of byte ``start`` of a file.

        Reads the whole file before it if no split begins there.
        """
        if start == 0:
            return 1
        if (number, start) not in self._first_lines:
            self._first_lines[number, start] = self._count_lines(number, start)
        return self._first_lines[number, start]

    def _count_lines(self, number: int, start: int) -> int:
        lines = 1
        with closing(self._opener(self.files[number], 0, start)) as stream:
            while data := stream.read(blocks.BLOCK_BYTES):
                lines += count_lines(data)
        return lines
