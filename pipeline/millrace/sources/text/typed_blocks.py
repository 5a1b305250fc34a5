"""Parsing of text blocks with inferred types, in several threads ahead of the consumer.

A block that was parsed before an earlier block widened a type is parsed again.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Generator, Iterable, Iterator
from contextlib import closing
from functools import partial
from typing import Final, NamedTuple, Protocol, TypeVar

import pyarrow as pa

from millrace.arrow import Path
from millrace.errors import SourceError, SourceTypeError
from millrace.parallel import in_order, worker_count
from millrace.sources.text.blocks import Block
from millrace.sources.text.row_separator import FittingRows, RowSeparator, Types
from millrace.sources.text.whole_numbers import WholeNumbers

Result = TypeVar("Result")
_IN_FLIGHT_BYTES: Final = 24 << 20


class UnfitBlockError(Exception):
    """A block with rows that do not fit the types; ``refusal`` makes the error for the first of them."""

    def __init__(self, refusal: Callable[[], SourceError]) -> None:
        super().__init__(refusal)
        self.refusal = refusal


class BlockParser(Protocol):
    """The parser of one text format, and its rule how types widen; ``parse`` is called from several threads."""

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """Return the errors of ``parse`` for a block that does not fit the types."""
        ...

    def parse(self, block: Block, types: Types) -> pa.RecordBatch:
        """Return the rows of a block with these types."""

    def parse_wider(self, block: Block, types: Types) -> tuple[pa.RecordBatch, Types]:
        """Return the rows of a block that may not fit the types, and the types, widened where that is allowed.

        The returned types are ``types`` itself where the block fits them. Raises ``UnfitBlockError`` for any other
        difference; its error names file, line and option.
        """

    def changed_number(self, block: Block, path: Path, values: pa.Array) -> SourceTypeError | None:
        """Return the error for the first number at ``path`` that differs from the text of its block, or None."""


class _Parsed(NamedTuple):
    """A block parsed ahead with these types, and whether a double in it may differ from its text."""

    batch: pa.RecordBatch
    doubt: bool
    types: Types


class _Unfit(NamedTuple):
    """The fitting rows of a block, found ahead with these types and these columns that do not become doubles."""

    fitting: FittingRows
    types: Types
    exact: frozenset[str]


class TypedBlocks:
    """The record batches of text blocks, in order; ``types`` are those of the latest batch and only ever widen.

    Columns that are ``given`` a type may be rounded to it. Other numbers that a double would change are refused. With a
    ``separator`` the rows that do not fit are set aside. Without one the first of them is an error.
    """

    def __init__(
        self, parser: BlockParser, types: Types, given: Container[str], separator: RowSeparator | None = None
    ) -> None:
        self.types = types
        self._parser = parser
        self._separator = separator
        self._whole_numbers = WholeNumbers(given)

    def batches(self, blocks: Iterable[Block]) -> Iterator[tuple[Block, pa.RecordBatch]]:
        """Yield each block with its rows; all cores parse blocks ahead.

        A block that was parsed before an earlier block widened a type is parsed again.
        """
        with closing(parse_in_order(self._parse_ahead, blocks, self._parser.errors)) as parsed_blocks:
            for block, parsed in parsed_blocks:
                if isinstance(parsed, _Unfit):
                    yield block, self._fitting_rows(block, parsed)
                    continue
                try:
                    batch = self._rows(block, parsed)
                except UnfitBlockError as error:
                    if self._separator is None:
                        raise error.refusal() from None
                    batch = self._fitting_rows(block)
                except SourceTypeError:
                    if self._separator is None:
                        raise
                    batch = self._fitting_rows(block)
                yield block, batch

    def _rows(self, block: Block, parsed: _Parsed | None) -> pa.RecordBatch:
        """Return the rows of a block that fits the types, which may widen.

        Raises ``UnfitBlockError``, and ``SourceTypeError`` for a number that a double would change.
        """
        if parsed is not None and parsed.types is self.types:
            batch, doubt, types = parsed
        else:
            batch, types = self._parser.parse_wider(block, self.types)
            doubt = True
        self._whole_numbers.check(batch, doubt, partial(self._parser.changed_number, block))
        self.types = types
        return batch

    def _fitting_rows(self, block: Block, unfit: _Unfit | None = None) -> pa.RecordBatch:
        """Return the rows of a block that fit, and set the others aside; ``unfit`` is the result of parsing ahead."""
        if self._separator is None:
            raise AssertionError("no rows are set aside")
        exact = self._whole_numbers.inexact_columns
        is_current = unfit is not None and unfit.types is self.types and unfit.exact == exact
        try:
            fitting = unfit.fitting if unfit and is_current else self._separator.separate(block, self.types, exact)
        except self._parser.errors as error:
            raise self._separator.refusal(block, self.types, error) from None
        self._separator.set_aside(fitting)
        for part, rows in fitting.parts:
            self._whole_numbers.check(rows, True, partial(self._parser.changed_number, part))
        self.types = fitting.types
        return fitting.batch

    def _parse_ahead(self, block: Block) -> _Parsed | _Unfit:
        types = self.types
        try:
            batch, doubt = self._whole_numbers.with_doubt(self._parser.parse(block, types))
        except self._parser.errors:
            if self._separator is None:
                raise
            exact = self._whole_numbers.inexact_columns
            return _Unfit(self._separator.separate(block, types, exact), types, exact)
        return _Parsed(batch, doubt, types)


def parse_in_order(
    parse: Callable[[Block], Result], blocks: Iterable[Block], errors: tuple[type[Exception], ...]
) -> Generator[tuple[Block, Result | None], None, None]:
    """Yield each block with its result, in the order of ``blocks``; None where ``parse`` raised one of ``errors``.

    All cores parse blocks ahead; at most 24 MB of blocks are in flight. Any other error is raised.
    """
    threads = worker_count()
    calls = in_order(
        parse,
        blocks,
        threads=threads,
        name="millrace-parse",
        items_max=threads + 2,
        bytes_max=_IN_FLIGHT_BYTES,
        size_of=lambda block: len(block.data),
    )
    with closing(calls):
        for block, call in calls:
            error = call.exception()
            if error is not None and not isinstance(error, errors):
                raise error
            yield block, None if error is not None else call.result()
