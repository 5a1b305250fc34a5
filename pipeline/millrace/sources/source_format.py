"""A format of sources: how it is detected, planned and read, and the options that apply to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum

from millrace.errors import SourceFormatError
from millrace.sources.agreement import Agreement
from millrace.sources.format_options import OPTIONS
from millrace.sources.io.source_checksum import ReadContent
from millrace.sources.model import FilePart, ReadBatch, SourceFile, SourcePlan
from millrace.sources.options import SourceOptions
from millrace.sources.reject_log import RejectLog
from millrace.sources.row_rules import RowRules


@dataclass(frozen=True, slots=True)
class Beginning:
    """The first bytes of a file; ``is_complete`` where they are all of it.

    ``text`` is the decoded text without a byte order mark and leading white space. It is None where the bytes are not
    text or where nothing is left.
    """

    data: bytes
    is_complete: bool
    text: str | None


class Doubt(Enum):
    """A reason why the other files of a source decide the format of a file."""

    COLUMN = "one column of numbers below a word"
    HEADER = "one line with commas"


@dataclass(frozen=True, slots=True)
class DetectedFormat:
    """The format that the first bytes of a file show.

    ``refusal`` is the error for data that is not read although it resembles the format. ``is_certain`` is False where
    a file name with another ending counts more than the bytes.
    """

    name: str
    doubt: Doubt | None = None
    refusal: SourceFormatError | None = None
    is_certain: bool = True


@dataclass(frozen=True, slots=True)
class Format:
    """One format of sources.

    ``label`` names its data in messages. ``deciding_options`` are those of its options that make any text this format.
    Every file of a binary format begins with one of ``magic``. ``detect`` returns
    the format that the first bytes of any other file show, or None. ``plan`` takes the address that messages name,
    the files, the options in force, the rules for rows, and with a contract the agreement. ``read`` yields the batches
    of some parts of a plan in their order.
    """

    name: str
    label: str
    plan: Callable[[str, tuple[SourceFile, ...], SourceOptions, RowRules, Agreement | None], SourcePlan]
    read: Callable[[SourcePlan, list[FilePart], ReadContent, RejectLog], Iterator[ReadBatch]]
    deciding_options: frozenset[str] = frozenset()
    magic: tuple[bytes, ...] = ()
    detect: Callable[[SourceFile, Beginning, SourceOptions], DetectedFormat | None] | None = None

    @property
    def options(self) -> frozenset[str]:
        """The names of the options that apply to the format, except those that apply to all formats."""
        return OPTIONS.get(self.name, frozenset())
