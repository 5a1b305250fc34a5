"""Reader of JSON lines: parses blocks on all cores and returns record batches in order.

Types are widened where that is allowed. An error names the file, line and column of any other type change.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial

import pyarrow as pa

from millrace.arrow import Path
from millrace.errors import SourceError, SourceFormatError, SourceTypeError
from millrace.names import column_type_option
from millrace.sources.detection.foreign import json_refusal, spread_refusal
from millrace.sources.detection.looks import json_array
from millrace.sources.given_types import NoTime, made
from millrace.sources.io.streams import PlainOpener
from millrace.sources.jsonl.parser import (
    MAX_DEPTH,
    NotALine,
    common_type,
    depth_of,
    parse_lines,
    parse_times,
    with_texts,
)
from millrace.sources.jsonl.times import as_text, holds_times, is_time, times_of
from millrace.sources.jsonl.width import leaf_count, narrow_pieces, refuse_width
from millrace.sources.model import SourceFile, SourcePlan
from millrace.sources.options import SourceOptions
from millrace.sources.text.blocks import BLOCK_BYTES, Block
from millrace.sources.text.decoding import TextFiles, not_utf8
from millrace.sources.text.parsing import parse_in_order
from millrace.sources.text.records import count_lines, record_starts
from millrace.sources.text.whole_numbers import WholeNumbers, changed_line, numbers_at, refusal
from millrace.sources.types import given_types

__all__ = ["JsonlReader"]

Part = tuple[int, int, int]
Item = tuple[Block, tuple[str, ...]]
_ROW = re.compile(r" in row \d+$")
_LEFT_OUT_MAX = 100
_BAD = (pa.ArrowInvalid, NotALine, UnicodeDecodeError)


@dataclass(frozen=True, slots=True)
class _TextOrLeftOut:
    """The names of the columns that are read as text: those given as text, and those not selected."""

    texts: frozenset[str]
    wanted: frozenset[str]

    def __contains__(self, name: object) -> bool:
        return name in self.texts or name not in self.wanted


class JsonlReader:
    """Reader of record batches from parts of JSON lines files, front to back; the counterpart of ``CsvReader``.

    ``left_out`` holds the names of columns that were found and not selected, the first 100 of them.
    """

    def __init__(
        self,
        files: tuple[SourceFile, ...],
        options: SourceOptions,
        types: dict[str, pa.DataType],
        given: dict[str, pa.DataType],
        opener: PlainOpener,
    ) -> None:
        self.types = types
        self.left_out: dict[str, None] = {}
        self._files = files
        self._given = given
        self._texts = frozenset(
            name for name, kind in given.items() if pa.types.is_string(kind) or pa.types.is_large_string(kind)
        )
        # A given timestamp in UTC also accepts text without a zone. One without a zone rejects text with a zone.
        self._native = frozenset(name for name, kind in given.items() if not is_time(kind) or _has_zone(kind))
        # Dates and times of day may also be JSON numbers: days, or a count of the type's unit.
        self._numbers = frozenset(n for n, kind in given.items() if not pa.types.is_timestamp(kind) or _has_zone(kind))
        self._wanted = None if options.columns is None else frozenset(options.columns)
        self._unexpected = "error" if options.columns is None else "ignore"
        self._text = TextFiles(files, options, opener, None)
        self._starts: dict[int, int] = {}
        self._whole_numbers = WholeNumbers(given)

    @classmethod
    def of_plan(cls, plan: SourcePlan, opener: PlainOpener) -> JsonlReader:
        """Return a reader for all files of a plan that begins with the plan's types."""
        types = {field.name: field.type for field in plan.source_schema}
        return cls(plan.files, plan.options, types, given_types(plan.options, None), opener)

    def batches(self, parts: list[Part]) -> Iterator[tuple[pa.RecordBatch, int, int]]:
        """Yield record batches, each with the index of its file and the position in bytes after its block."""
        sent: dict[int, dict[str, pa.DataType]] = {}

        def attempt(item: Item) -> tuple[pa.RecordBatch, bool]:
            block, _ = item
            types = sent[id(block)] = self.types
            batch = parse_times(block.data, types, unexpected=self._unexpected, native=self._native)
            return self._whole_numbers.with_doubt(batch)

        with closing(
            parse_in_order(attempt, _narrow(self.blocks(parts), sum(map(leaf_count, self.types.values()))))
        ) as pairs:
            for (block, _), future in pairs:
                error = future.exception()
                types = sent.pop(id(block), None)
                if error is not None and not isinstance(error, _BAD):
                    raise error
                again = error is not None or types is not self.types
                batch, doubt = (self._again(block), True) if again else future.result()
                self._whole_numbers.check(batch, doubt, partial(self._changed, block))
                yield batch, block.file, block.position

    def blocks(self, parts: list[Part], block_bytes: int | None = None) -> Generator[Item, None, None]:
        """Yield blocks of lines, each with an empty column order, because every line names its columns itself."""
        for number, start, stop in parts:
            self._starts[number] = start
            with closing(self._text.open(number, start, stop)) as stream:
                for block in self._text.cutter(number, stream, start, block_bytes or BLOCK_BYTES).blocks():
                    yield block, ()

    def infer(self, blocks: Iterable[Item]) -> dict[str, pa.DataType]:
        """Return the types that fit all of ``blocks``, with the columns in order of appearance.

        Given columns that do not appear come last. The types are those that ``pyarrow.json.read_json`` infers for a
        whole file. Raises the error of ``_refuse`` for a block that does not fit.
        """
        found: dict[str, pa.DataType] = {}

        def attempt(item: Item) -> tuple[list[pa.Field], int]:
            data = self._plain(item[0].data)
            batch = self._seen(data)
            schema = batch.schema
            # pyarrow puts columns of a given type first, so a second parse without types returns the real order.
            names = parse_lines(data, {}, unexpected="infer").schema.names if self._given else schema.names
            return [schema.field(name) for name in names], batch.num_rows

        rows = data_bytes = 0
        with closing(parse_in_order(attempt, _narrow(blocks))) as pairs:
            for (block, _), future in pairs:
                error = future.exception()
                if error is not None and not isinstance(error, _BAD):
                    raise error
                fields, seen_rows = ([], 0) if error is not None else future.result()
                wider = None if error is not None else self._widen(found, fields, grow=True)
                if wider is None:
                    raise self._refuse(block, found, grow=True)
                found, rows, data_bytes = wider, rows + seen_rows, data_bytes + len(block.data)
                refuse_width(found, rows, data_bytes, self._files[block.file])
        unseen = {name: kind for name, kind in self._given.items() if name not in found}
        return {**found, **unseen}

    def _widen(
        self, types: dict[str, pa.DataType], seen: Iterable[pa.Field], *, grow: bool
    ) -> dict[str, pa.DataType] | None:
        """Return ``types`` widened to hold the fields ``seen`` too, or None when that is not allowed.

        With ``grow`` new columns are allowed.
        """
        wider = dict(types)
        for field in seen:
            if self._wanted is not None and field.name not in self._wanted:
                if len(self.left_out) < _LEFT_OUT_MAX:
                    self.left_out[field.name] = None
                continue
            if field.name in self._given:
                wider[field.name] = self._given[field.name]
                continue
            if field.name not in wider and not grow:
                return None
            kind = common_type(wider.get(field.name, pa.null()), field.type, grow=grow)
            if kind is None or depth_of(kind) > MAX_DEPTH:
                return None
            wider[field.name] = kind
        return wider

    def _parse(self, data: bytes, types: dict[str, pa.DataType], unexpected: str) -> pa.RecordBatch:
        try:
            return parse_times(data, types, unexpected=unexpected, native=self._native)
        except pa.ArrowInvalid:
            if not self._texts and self._wanted is None and self._numbers == self._native:
                raise
        if self._numbers != self._native:
            try:
                return parse_times(data, types, unexpected=unexpected, native=self._numbers)
            except NoTime:
                raise
            except pa.ArrowInvalid:
                pass
        texts = self._texts if self._wanted is None else _TextOrLeftOut(self._texts, self._wanted)
        return parse_times(with_texts(data, texts), types, unexpected=unexpected, native=self._native)

    def _plain(self, data: bytes) -> bytes:
        """Return the lines with every value of the given text columns as a string."""
        if not self._texts:
            return data
        try:
            parse_lines(data, dict.fromkeys(self._texts, pa.string()), unexpected="ignore")
        except pa.ArrowInvalid:
            return with_texts(data, self._texts)
        return data

    def _seen(self, data: bytes) -> pa.RecordBatch:
        """Parse the lines with types inferred from these lines alone; columns of a given type come first."""
        batch = self._parse(data, self._given, "infer")
        times = {f.name: f.type for f in batch.schema if f.name not in self._given and holds_times(f.type)}
        if not times:
            return batch
        texts = self._parse(data, {**self._given, **{name: as_text(kind) for name, kind in times.items()}}, "infer")
        columns = dict(zip(batch.schema.names, batch.columns, strict=True))
        for name, kind in times.items():
            columns[name] = made(texts.column(name), times_of(texts.column(name), kind))
        return pa.RecordBatch.from_pydict(columns)

    def _again(self, block: Block) -> pa.RecordBatch:
        """Parse a block that did not fit the types, and widen ``self.types`` where nulls or integers allow it.

        Raises the error of ``_refuse`` for any other difference.
        """
        with suppress(*_BAD):
            return self._parse(block.data, self.types, self._unexpected)
        try:
            wider = self._widen(self.types, self._seen(block.data).schema, grow=False)
            if wider is not None:
                batch = self._parse(block.data, wider, self._unexpected)
                self.types = wider
                return batch
        except _BAD:
            pass
        raise self._refuse(block, self.types, grow=False)

    def _changed(self, block: Block, path: Path, values: pa.Array) -> SourceTypeError | None:
        """Return the error for the first number of a block at ``path`` that its parsed value does not equal.

        Returns None where every number was parsed exactly.
        """
        column, starts = str(path[0]), record_starts(block.data, None).tolist()
        lines = [block.data[start:stop] for start, stop in zip(starts, [*starts[1:], len(block.data)], strict=True)]
        found = changed_line(lines, path, values.type, given=column in self._given)
        if found is None:
            return None
        row, number = found
        first_line = self._text.first_line(block.file, self._starts[block.file]) + block.lines_before
        line = first_line + count_lines(block.data[: starts[row]])
        # The hint offers a decimal type only where it is known to fit all numbers. For an integer column the later
        # numbers are not known yet, and a nested value can only be kept as text.
        alone = pa.types.is_integer(values.type) or len(path) > 1
        others = [] if alone else [str(each) for line in lines for each in numbers_at(line, path)]
        return refusal(self._files[block.file].name, line, column, str(number), values.type, others)

    def _fits(self, data: bytes, types: dict[str, pa.DataType], *, grow: bool) -> dict[str, pa.DataType] | None:
        try:
            wider = self._widen(types, self._seen(data).schema, grow=grow)
            if wider is not None and not grow:
                self._parse(data, wider, self._unexpected)
            return wider
        except _BAD:
            return None

    def _refuse(self, block: Block, types: dict[str, pa.DataType], *, grow: bool) -> SourceError:
        """Return the error for the first line of a block that does not fit, found by bisection."""
        name, data = self._files[block.file].name, block.data
        starts = [*record_starts(data, None).tolist(), len(data)]
        good, bad, before = 0, len(starts) - 1, types
        while bad - good > 1:
            middle = (good + bad) // 2
            wider = self._fits(data[: starts[middle]], types, grow=grow)
            if wider is None:
                bad = middle
            else:
                good, before = middle, wider
        at, record = starts[good], data[starts[good] : starts[bad]]
        first_line = self._text.first_line(block.file, self._starts[block.file]) + block.lines_before
        line = first_line + count_lines(data[:at])
        try:
            seen = self._seen(record)
        except UnicodeDecodeError:
            return not_utf8(record, name, line)
        except (pa.ArrowInvalid, NotALine) as error:
            if better := _not_lines(self._files[block.file], record, data[at:], line):
                return better
            if wrong := self._wrong_given(record, name, line):
                return wrong
            return SourceFormatError(f"{name}, line {line}: {_reason(error)}", file=name, line=line)
        return _type_error(name, line, before, seen, grow=grow)

    def _wrong_given(self, record: bytes, name: str, line: int) -> SourceTypeError | None:
        """Return the error for the first column of a line whose value is not of its given type, or None."""
        for column, kind in self._given.items():
            try:
                self._parse(record, {column: kind}, "ignore")
            except (pa.ArrowInvalid, NotALine) as error:
                with suppress(*_BAD):
                    parse_lines(record, {}, unexpected="infer")
                    return SourceTypeError(
                        f"{name}, line {line}: column {column!r} was given as {kind}: {_reason(error)}",
                        hint=f"give another type: {column_type_option(column)}",
                        file=name,
                        line=line,
                        column=column,
                        expected=str(kind),
                    )
        return None


def _not_lines(file: SourceFile, record: bytes, rest: bytes, line: int) -> SourceFormatError | None:
    """Return the error for a JSON array, or for an object that continues on the next line; else None."""
    text = record.decode("utf-8", "replace").strip()
    if line == 1 and text.startswith("["):
        array = json_array(rest.decode("utf-8", "replace").lstrip(), whole=False)
        return json_refusal(file, array, line) if array else None
    if not text.startswith("{"):
        return None
    try:
        json.loads(text)
    except RecursionError:
        return None
    except json.JSONDecodeError as error:
        return spread_refusal(file, line) if error.pos >= len(text) else None
    return None


def _narrow(items: Iterable[Item], width: int | None = None) -> Generator[Item, None, None]:
    """Yield the blocks, those with many keys split into smaller ones."""
    for block, order in items:
        for piece in narrow_pieces(block, width):
            yield piece, order


def _has_zone(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind)) and kind.tz is not None


def _reason(error: Exception) -> str:
    text = str(error.args[0] if isinstance(error, NotALine) else error)
    if "Column() changed" in text:
        return "this line is not one JSON object"
    return _ROW.sub("", text.removeprefix("JSON parse error: ")).rstrip(".")


def _type_error(
    name: str, line: int, types: dict[str, pa.DataType], seen: pa.RecordBatch, *, grow: bool
) -> SourceTypeError:
    """Return the error for the first column of a line that changes the types of all lines before it."""
    for field in seen.schema:
        now = types.get(field.name)
        if depth_of(field.type) > MAX_DEPTH:
            return SourceTypeError(
                f"{name}, line {line}: column {field.name!r} is nested deeper than {MAX_DEPTH} levels",
                hint=f"keep it as text: {column_type_option(field.name)}",
                file=name,
                line=line,
                column=field.name,
            )
        if now is not None and common_type(now, field.type, grow=grow) is not None:
            continue
        shown = repr(seen.column(field.name)[0].as_py())
        value = f"{shown if len(shown) <= 40 else shown[:40] + '...'} ({field.type})"
        said = f"first appears here, as {value}" if now is None else f"was {now} and is {value} here"
        return SourceTypeError(
            f"{name}, line {line}: column {field.name!r} {said}",
            hint=f"give its type: {column_type_option(field.name)}",
            file=name,
            line=line,
            column=field.name,
            expected=None if now is None else str(now),
        )
    return SourceTypeError(f"{name}, line {line}: a value here does not fit its column", file=name, line=line)
