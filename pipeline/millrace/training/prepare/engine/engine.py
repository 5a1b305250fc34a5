"""The engine: inputs become tables of a database file, and the user's query runs on views of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final

import pyarrow as pa

from millrace.errors import UsageError
from millrace.names import first_duplicate
from millrace.training.prepare.engine.connection import QUERY, as_usage_error, open_database
from millrace.training.prepare.engine.scratch import Scratch
from millrace.training.prepare.engine.spill import SpillWatch
from millrace.training.prepare.engine.sql import quoted
from millrace.training.prepare.query import CheckedQuery

INPUTS: Final = "millrace_inputs"
"""The schema of the whole inputs; the check of a query refuses its name."""
WORK: Final = "millrace_work"
"""The schema of the tables that a preparation makes."""
_RESULT: Final = "result"
_READER: Final = "millrace_reader"
_PREPARATION: Final = "the preparation"


class Engine:
    """A DuckDB database in ``work.duckdb`` of a scratch folder, for the time of a ``with``.

    Rows are in a file and not in memory, so the memory of DuckDB stays below ``memory_bytes``. ``threads`` of 0 means
    one per core that the process may use. Methods must not be called from several threads at a time.
    """

    def __init__(self, scratch: Scratch, *, memory_bytes: int, threads: int) -> None:
        self._scratch = scratch
        self._memory_bytes = memory_bytes
        self._threads = threads or len(os.sched_getaffinity(0))
        self._spill = SpillWatch(scratch, self._interrupt)
        self._connection: Any = None
        self._cursors: list[Any] = []
        self._hidden: frozenset[str] = frozenset()

    @property
    def spilled_bytes(self) -> int:
        """Return the most bytes that the database and the temporary files have taken on the disk."""
        return self._spill.most_bytes

    def __enter__(self) -> Engine:
        self._open(self._threads, ordered=True)
        for schema in (INPUTS, WORK):
            self._execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def add_input(
        self,
        alias: str,
        batches: pa.RecordBatchReader,
        *,
        hidden: Collection[str] = (),
        progress: Callable[[int], None] = lambda rows: None,
    ) -> int:
        """Store the batches in their order as table ``alias`` of ``INPUTS``; return the number of rows.

        The query sees a view ``alias`` without the ``hidden`` columns. ``progress`` is called with the rows so far.
        """
        schema = batches.schema
        if twice := first_duplicate(name.lower() for name in schema.names):
            raise UsageError(f"input {alias!r} has two columns {twice!r}", hint="SQL does not distinguish upper case")
        table = f"{INPUTS}.{quoted(alias)}"
        _check_types(alias, schema)
        failures: list[BaseException] = []
        counted = pa.RecordBatchReader.from_batches(schema, _counted(batches, progress, failures))
        with self._errors():
            self._connection.register(_READER, counted)
        try:
            rows = self._create(table, f"FROM {_READER}", f"input {alias!r}", failures)
        finally:
            self._connection.unregister(_READER)
        self._hidden |= frozenset(hidden)
        visible = [quoted(name) for name in schema.names if name not in hidden]
        self._execute(f"CREATE VIEW main.{quoted(alias)} AS FROM {table} SELECT {', '.join(visible)}")
        return rows

    def run_query(self, query: CheckedQuery) -> int:
        """Run the user's query into table ``result`` of ``WORK``; return the number of rows.

        It runs on a connection of its own, and in one thread where the order of rows may change the result.
        """
        self._open(1 if query.one_thread else self._threads, ordered=query.one_thread)
        try:
            self._check_alone(query.sql)
            return self._create(f"{WORK}.{_RESULT}", query.sql, QUERY)
        finally:
            self._open(self._threads, ordered=True)

    def result_schema(self, query: CheckedQuery) -> pa.Schema:
        """Return the columns of the query's result as Arrow types, without running it."""
        self._check_alone(query.sql)
        with self._errors(QUERY):
            return self._connection.sql(query.sql).limit(0).to_arrow_table().schema

    def create(self, name: str, sql: str, *, subject: str = _PREPARATION) -> int:
        """Make table ``name`` of ``WORK`` from a SELECT of the program; return its rows.

        The SQL must not hold the text of a user, apart from expressions that ``expression_columns`` accepted. An error
        names ``subject`` as the part of the entry that failed.
        """
        return self._create(f"{WORK}.{quoted(name)}", sql, subject)

    def rows(self, sql: str, *, subject: str = _PREPARATION) -> list[tuple[Any, ...]]:
        """Return all rows of a small result. An error names ``subject`` as the part of the entry that failed."""
        return self._execute(sql, subject)

    def batches(self, sql: str, *, batch_rows: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a result; other calls may come between the batches, except ``run_query``."""
        cursors = self._cursors
        cursor = cursors.pop() if cursors else self._connection.cursor()
        with self._errors():
            reader = cursor.sql(sql).to_arrow_reader(batch_rows)
        try:
            while True:
                with self._errors():
                    batch = next(reader, None)
                if batch is None:
                    return
                yield batch
        finally:
            reader.close()
            cursors.append(cursor)

    def drop(self, name: str) -> None:
        """Remove table ``name`` of ``WORK``."""
        self._execute(f"DROP TABLE {WORK}.{quoted(name)}")

    def _create(self, table: str, sql: str, subject: str, failures: Collection[BaseException] = ()) -> int:
        # The newline ends a comment in the last line of the query's text before it can hide anything.
        counts = self._execute(f"CREATE TABLE {table} AS\n{sql}\n", subject, failures, lines_before=1)
        return int(counts[0][0])

    def _execute(
        self, sql: str, subject: str = _PREPARATION, failures: Collection[BaseException] = (), *, lines_before: int = 0
    ) -> list[tuple[Any, ...]]:
        with self._errors(subject, failures, lines_before=lines_before):
            rows: list[tuple[Any, ...]] = self._connection.execute(sql).fetchall()
            return rows

    def _check_alone(self, sql: str) -> None:
        """Refuse a text that DuckDB itself does not read as one SELECT; the check of the query has the details."""
        import duckdb

        with self._errors(QUERY):
            statements = self._connection.extract_statements(sql)
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise UsageError(f"the query of {self._scratch.name} is not one SELECT statement")

    @contextmanager
    def _errors(
        self, subject: str = _PREPARATION, failures: Collection[BaseException] = (), *, lines_before: int = 0
    ) -> Iterator[None]:
        """Watch the disk, and translate errors of DuckDB; an error of an input's stream is raised as it was."""
        import duckdb

        try:
            with self._spill:
                yield
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            for failure in failures:
                raise failure from None
            if self._spill.is_stopped and isinstance(error, duckdb.InterruptException):
                raise self._scratch.full() from None
            raise as_usage_error(
                error, self._scratch, subject, lines_before=lines_before, hidden=self._hidden
            ) from None

    def _interrupt(self) -> None:
        if self._connection is not None:
            self._connection.interrupt()

    def _open(self, threads: int, *, ordered: bool) -> None:
        """Open the database again with other settings: those of a connection are locked."""
        self._close()
        path = self._scratch.path / "work.duckdb"
        with self._errors():
            self._connection, self._cursors = open_database(
                path, self._scratch, memory_bytes=self._memory_bytes, threads=threads, ordered=ordered
            )

    def _close(self) -> None:
        for cursor in self._cursors:
            cursor.close()
        self._cursors = []
        if self._connection is not None:
            self._connection.close()
        self._connection = None


def _check_types(alias: str, schema: pa.Schema) -> None:
    """Refuse columns of types that DuckDB does not read."""
    for field in schema:
        if pa.types.is_float16(field.type) or pa.types.is_decimal256(field.type):
            raise UsageError(
                f"column {field.name!r} of input {alias!r} has the type {field.type}, which SQL cannot read",
                hint="leave the column out of the query",
            )


def _counted(
    batches: pa.RecordBatchReader, progress: Callable[[int], None], failures: list[BaseException]
) -> Iterator[pa.RecordBatch]:
    """Yield the batches; keep an exception, because Arrow's C stream passes only its text on."""
    rows = 0
    try:
        for batch in batches:
            rows += batch.num_rows
            yield batch
            progress(rows)
    except BaseException as error:
        failures.append(error)
        raise
