"""``Dataset``: one immutable version, read as Arrow."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from millrace.cache import CachedForms
from millrace.dataset.chunk_decoder import ChunkDecoder
from millrace.dataset.chunk_source import ChunkSource
from millrace.dataset.exports.frames import pandas_frame, require
from millrace.dataset.filters.conditions import Filter, as_condition, columns_for
from millrace.dataset.filters.prune import ChunkFilter
from millrace.dataset.read_chunks import ReadChunks
from millrace.dataset.read_cost import ReadCost, read_cost
from millrace.dataset.recipe import Recipe, recipe_of, without_recipe
from millrace.dataset.scan import Scan
from millrace.dataset.scan_stats import ScanStats
from millrace.dataset.selection import column_indices, filtered_batches, first_rows
from millrace.dataset.splits import chosen_chunks, splits_of
from millrace.display import html_table
from millrace.errors import ChunkError, StoreError
from millrace.settings import ReadSettings
from millrace.store import Catalogue, ChunkReader, ChunkRef, Lease, Page, Version

if TYPE_CHECKING:
    from millrace.cache import ChunkCache

Batches = Generator[pa.RecordBatch, None, None]


class Dataset:
    """One immutable version of a dataset; a read returns exactly the loaded rows or raises an error.

    Made by ``Store.dataset``. ``stats`` counts the chunks of the last read that came from Redis and from Cassandra.
    """

    def __init__(
        self,
        version: Version,
        catalogue: Catalogue,
        reader: ChunkReader,
        cache: ChunkCache | None,
        settings: ReadSettings,
        lease: Callable[[], AbstractContextManager[Lease | None]] = nullcontext,
    ) -> None:
        self.version = version
        self._lease = lease
        self._catalogue = catalogue
        self._reader = reader
        self._cache = cache if settings.use_cache else None
        self._settings = settings
        self._schema: pa.Schema | None = None
        self.stats = ScanStats()

    def __repr__(self) -> str:
        v = self.version
        return f"<Dataset {v.reference}: {v.rows:,} rows, {v.chunks:,} chunks, {v.stored_bytes:,} stored bytes>"

    def _repr_html_(self) -> str:
        try:
            columns = [(field.name, field.type) for field in self.schema]
        except StoreError as error:
            columns = [("unknown", error)]
        return html_table(f"Dataset {self.version.reference}", self.version.shown(), columns)

    @property
    def name(self) -> str:
        """Return the dataset's name."""
        return self.version.dataset

    @property
    def schema(self) -> pa.Schema:
        """Return the schema that every batch has."""
        if self._schema is None:
            self._schema = self._catalogue.pages.schema(self.version)
        return self._schema

    @property
    def degraded(self) -> bool:
        """Return whether the catalogue was read while a node was down. That node may have a newer version."""
        return self.version.degraded

    @property
    def recipe(self) -> Recipe | None:
        """Return how a version of training data was made, with its statistics and categories; None for any other."""
        return self._recipe

    @cached_property
    def _recipe(self) -> Recipe | None:
        return recipe_of(self.schema)

    @property
    def splits(self) -> dict[str, range]:
        """Return the chunks of each split by its name; empty if the version has no splits."""
        return splits_of(self.schema)

    def count_rows(self, filter: Filter | None = None, *, split: str | None = None) -> int:
        """Return the number of rows, or of the rows that pass ``filter``, of the version or of one split.

        Without ``filter`` no chunk is read. With ``filter`` the columns that it uses are read.
        """
        if filter is not None:
            return sum(batch.num_rows for batch in self.to_batches([], filter, split=split))
        return self.version.rows if split is None else self._read_chunks(split).count_rows()

    def to_batches(
        self,
        columns: Sequence[str] | None = None,
        filter: Filter | None = None,
        *,
        num_rows: int | None = None,
        split: str | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """Return the rows, or those that pass ``filter``, as batches in order and in bounded memory.

        With ``split`` these are the rows of one split. The schema of the batches has no recipe.

        ``filter`` is the text that ``millrace read --filter`` takes (``"month = 1 and carrier in ('UA', 'B6')"``), or
        an expression of ``pyarrow.compute``.

        With ``num_rows`` at most that many rows are returned. Without ``filter`` no chunk after these rows is fetched.

        Only tiles with ``columns`` or with the columns of ``filter`` are fetched. A chunk is skipped if its statistics
        show that no row passes ``filter``. The first chunk is fetched alone, so that the first batch arrives early. The
        chunks after it are read ahead.

        Raises ``UsageError`` for a column or a split that does not exist and for an invalid filter, before any chunk is
        read.
        """
        batches = self._batches(columns, filter, num_rows, split, ahead=False)
        return batches if num_rows is None else first_rows(batches, num_rows)

    def to_table(
        self, columns: Sequence[str] | None = None, filter: Filter | None = None, *, split: str | None = None
    ) -> pa.Table:
        """Return the whole version, or the given columns and rows, as one table; options are as in ``to_batches``."""
        batches = self._batches(columns, filter, None, split, ahead=True)
        return pa.Table.from_batches(batches, schema=self._selected_schema(columns))

    def to_pandas(self, columns: Sequence[str] | None = None, filter: Filter | None = None, **options: Any) -> Any:
        """Return the rows of ``to_table`` as a pandas DataFrame.

        ``options`` are those of ``pyarrow.Table.to_pandas``. Integers stay integers (``Int64`` where there are nulls).
        Raises ``UsageError`` where pandas is not installed.
        """
        require("pandas")
        return pandas_frame(self.to_table(columns, filter), **options)

    def to_polars(self, columns: Sequence[str] | None = None, filter: Filter | None = None) -> Any:
        """Return the rows of ``to_table`` as a polars DataFrame; raise ``UsageError`` where polars is not installed."""
        return require("polars").from_arrow(self.to_table(columns, filter))

    def head(
        self,
        num_rows: int = 5,
        columns: Sequence[str] | None = None,
        filter: Filter | None = None,
        *,
        split: str | None = None,
    ) -> pa.Table:
        """Return the first ``num_rows`` rows, or the first that pass ``filter``, of the version or of one split.

        Without ``filter`` only the pages and chunks that hold these rows are read.
        """
        schema = self._selected_schema(columns)
        if filter is not None:
            batches = self._batches(columns, filter, num_rows, split, ahead=False)
            return pa.Table.from_batches(first_rows(batches, num_rows), schema=schema)
        batches = self._scan(self._indices(columns)).batches(self._read_chunks(split).known_refs(num_rows))
        with self._named():
            return pa.Table.from_batches(first_rows(batches, num_rows), schema=schema)

    def read_cost(self, columns: Sequence[str] | None = None, filter: Filter | None = None) -> ReadCost:
        """Return the chunks, tiles and stored bytes that ``to_batches`` would fetch; no chunk is read."""
        indices, chunks = self._indices(columns), self._read_chunks(None)
        if filter is None:
            return read_cost(chunks.known_refs(), self._source(indices).decoder)
        condition = as_condition(filter, self.schema)
        used = columns_for(condition, self.schema)
        fetched = None if indices is None or used is None else list(dict.fromkeys([*indices, *used]))
        kept = chunks.kept(ChunkFilter.of(condition, self.schema, used or ()))
        return read_cost(kept, self._source(fetched).decoder)

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        """Return the Arrow PyCapsule stream, through which polars, DuckDB, pandas and pyarrow read the dataset."""
        reader = pa.RecordBatchReader.from_batches(self._selected_schema(None), self.to_batches())
        return reader.__arrow_c_stream__(requested_schema)

    def refs(self) -> Iterator[ChunkRef]:
        """Yield every chunk of the version in order, with one manifest page in memory at a time."""
        for page in self._catalogue.pages.each_ref(self.version):
            yield from self._catalogue.pages.page(self.name, page).refs()

    def known_pages(self) -> Iterator[Page]:
        """Yield the manifest pages in order; this process may have cached them."""
        for page in self._catalogue.pages.each_ref(self.version):
            yield self._catalogue.pages.cached_page(self.name, page)

    @contextmanager
    def used_by(self, job: str | None) -> Iterator[Lease | None]:
        """Keep the version from being deleted, and from being evicted from the cache, during the block.

        ``job`` has the same name in all processes of a job; the cache counts jobs by it. None leaves the cache as it
        is. Gives the lease.
        """
        with ExitStack() as held:
            lease = held.enter_context(self._lease())
            if self._cache is not None and job is not None:
                self._cache.opened(self.name, self.version.label, job)
                held.enter_context(self._cache.pin(self.name, self.version.label))
            yield lease

    def _read_chunks(self, split: str | None) -> ReadChunks:
        """Return the chunks of a split (None: all); raise ``UsageError`` for a split that does not exist."""
        version = self.version
        chunks = None if split is None else chosen_chunks(self.schema, split, version.chunks, version.reference)
        return ReadChunks(self._catalogue, version, chunks)

    def _indices(self, columns: Sequence[str] | None) -> list[int] | None:
        return None if columns is None else column_indices(columns, self.schema, self.version)

    def _selected_schema(self, columns: Sequence[str] | None) -> pa.Schema:
        indices = self._indices(columns)
        if indices is None:
            return without_recipe(self.schema)
        return pa.schema([self.schema.field(index) for index in indices])

    def _batches(
        self,
        columns: Sequence[str] | None,
        filter: Filter | None,
        num_rows: int | None,
        split: str | None,
        *,
        ahead: bool,
    ) -> Batches:
        indices, chunks = self._indices(columns), self._read_chunks(split)
        if filter is None:
            return self._leased(self._scan(indices).batches(chunks.known_refs(num_rows), ahead=ahead))
        condition = as_condition(filter, self.schema)
        used = columns_for(condition, self.schema)
        refs = chunks.kept(ChunkFilter.of(condition, self.schema, used or ()))
        if indices != [] and used:
            batches = self._scan(indices, condition, used).batches(refs, ahead=ahead)
            return self._leased(batch for batch in batches if batch.num_rows)
        # Without output columns, or if the condition uses no column or unknown ones, Arrow filters the scanned batches.
        fetched = None if indices is None or used is None else list(dict.fromkeys([*indices, *used]))
        return self._leased(filtered_batches(self._scan(fetched).batches(refs, ahead=ahead), condition, columns))

    def _leased(self, batches: Iterator[pa.RecordBatch]) -> Batches:
        with self._lease() as lease, self._named():
            for batch in batches:
                # The lease is taken while the first rows are fetched, and recorded before the caller gets them.
                if lease is not None:
                    lease.wait_taken()
                yield batch

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Add the version to errors of chunks and pages, which name none because versions share chunks."""
        try:
            yield
        except (ChunkError, StoreError) as error:
            if "version" not in error.context:
                error.context["version"] = self.version.label
                error.message = f"{self.version.reference}: {error.message}"
            raise

    def chunk_source(
        self, columns: Sequence[str] | None = None, *, decoded_bytes_max: int = 0, keeps_matrices: bool = False
    ) -> ChunkSource:
        """Return the source of single chunks with these columns (None: all); see ``refs`` for the chunks.

        At most ``decoded_bytes_max`` bytes of decoded chunks stay in the process. With ``keeps_matrices`` the columns
        of a matrix stay together; ``ChunkSource.places`` tells where they are. Raises ``UsageError`` for a column that
        does not exist.
        """
        return self._source(self._indices(columns), decoded_bytes_max=decoded_bytes_max, keeps_matrices=keeps_matrices)

    def _source(
        self,
        columns: Sequence[int] | None,
        condition: pc.Expression | None = None,
        used: Sequence[int] = (),
        *,
        decoded_bytes_max: int = 0,
        keeps_matrices: bool = False,
    ) -> ChunkSource:
        cache, version = self._cache, self.version
        forms = CachedForms() if cache is None else cache.forms(version.dataset, version.label)
        decoder = ChunkDecoder(self.schema, version.layout, columns, condition, used, keeps_matrices=keeps_matrices)
        source = ChunkSource(
            self._reader,
            cache,
            decoder,
            forms=forms.of_dataset,
            refilled_version=version.label if forms.of_version else None,
            decoded_bytes_max=decoded_bytes_max,
        )
        self.stats = source.stats
        return source

    def _scan(
        self, columns: Sequence[int] | None, condition: pc.Expression | None = None, used: Sequence[int] = ()
    ) -> Scan:
        return Scan(self._source(columns, condition, used), self._settings)
