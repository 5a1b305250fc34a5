"""Decode the fetched tiles of chunks to the requested columns and rows."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from millrace.arrow import held_bytes
from millrace.chunks import (
    Allocate,
    OlderChunk,
    TileLayout,
    assemble_as_stored,
    cast_batch,
)
from millrace.dataset.chunk_columns import ChunkColumns, ColumnPlace
from millrace.dataset.decoded_sizes import DecodedSizes
from millrace.dataset.filters.rows import only_rows, passing_rows
from millrace.dataset.recipe import without_recipe
from millrace.dataset.value_sizes import cast_bytes, copied_bytes, fixed_bytes, is_fixed
from millrace.errors import ChunkFormatError
from millrace.store import ChunkRef, TileRef

_RAW_PER_STORED = 4
_SHORT_ROWS = 1 << 16
"""Chunks of fewer rows are assembled by one thread at a time: a column takes less time than a switch of the GIL."""
_INFLATED = 1.1


class ChunkDecoder:
    """A decoder for the columns and rows that one scan reads.

    ``columns`` are indices into ``schema`` (None: all), and so are ``used``, the columns that ``condition`` uses. The
    attribute ``schema`` is that of the decoded batches. ``tiles`` are the indices of the needed tiles (None: all); a
    chunk that is older than a column lacks the last ones. Safe to use from several threads.

    With ``keeps_matrices`` the columns of a matrix tile stay together, as ``ChunkColumns`` describes it: they are not
    copied. ``places`` then has the places of the columns by name. Only a decoder without a condition can keep them.
    """

    def __init__(
        self,
        schema: pa.Schema,
        layout: TileLayout,
        columns: Sequence[int] | None,
        condition: pc.Expression | None = None,
        used: Sequence[int] = (),
        *,
        keeps_matrices: bool = False,
    ) -> None:
        self._version_schema = schema
        self._layout = layout
        self._columns = list(range(len(schema))) if columns is None else list(columns)
        self._condition = condition
        self._used = list(used)
        self._fetched = [*self._columns, *(column for column in self._used if column not in self._columns)]
        tiles = None if columns is None else list(layout.tiles_of(self._fetched))
        self.tiles = None if tiles is not None and len(tiles) == len(layout.columns) else tiles
        self._kept = ChunkColumns.of(schema, layout, columns) if keeps_matrices else None
        self.schema = self._batch_schema()
        self._schema_bytes = self.schema.serialize().to_pybytes()
        self._row_bytes: float = sum(fixed_bytes(field.type) for field in self.schema)
        self._cast_row_bytes = sum(cast_bytes(field.type) for field in self.schema)
        if self._kept is None:
            self._cast_row_bytes += sum(copied_bytes(schema, layout, self._fetched))
        self.is_measured = all(is_fixed(field.type) for field in self.schema)
        """Whether the decoded size is known: for types of fixed width at once, for others after the first chunk."""
        self._short = threading.Lock()

    def _batch_schema(self) -> pa.Schema:
        """Return the schema of the batches, without a recipe, which may have a megabyte."""
        schema = without_recipe(self._version_schema)
        if self._kept is not None:
            return self._kept.schema(schema)
        return pa.schema([schema.field(i) for i in self._columns], schema.metadata)

    @property
    def places(self) -> Mapping[str, ColumnPlace]:
        """Return the place of each column in a batch by its name; empty unless matrices are kept."""
        return {} if self._kept is None else self._kept.places(self._version_schema)

    @property
    def key(self) -> Hashable:
        """Return a key that only decoders of the same columns and rows have."""
        condition = None if self._condition is None else id(self)
        return (tuple(self._columns), self._schema_bytes, condition)

    def cost_bytes(self, ref: ChunkRef) -> int:
        """Return the bytes that a chunk takes of the window: its stored or a quarter of its decoded size.

        The larger one counts. A column of zeros is a thousand times larger decoded than stored.
        """
        # Tiles may hold narrower types than the version's: 38 bytes a row of flights become 151, and text that
        # repeats is stored as a dictionary.
        decoded_bytes = max(sum(tile.raw_bytes for tile in self._needed(ref)), int(ref.rows * self._row_bytes))
        return max(self.stored_bytes(ref), decoded_bytes // _RAW_PER_STORED)

    def stored_bytes(self, ref: ChunkRef) -> int:
        """Return the stored bytes of the needed tiles of a chunk."""
        return sum(tile.stored_bytes for tile in self._needed(ref))

    def cast_bytes(self, ref: ChunkRef) -> int:
        """Return the bytes of the columns that the chunk lacks or may hold in narrower types, in the final types."""
        is_older = len(ref.tiles) < len(self._layout.columns)
        return int(ref.rows * (self._row_bytes if is_older else self._cast_row_bytes))

    def decoded_sizes(self, types: Mapping[str, pa.DataType]) -> DecodedSizes:
        """Return the sizes of the columns of ``types`` at most, decoded to these types."""
        numbered = {self._version_schema.get_field_index(name): type_ for name, type_ in types.items()}
        return DecodedSizes(self._layout, numbered)

    def tiles_of(self, ref: ChunkRef) -> Sequence[int]:
        """Return the needed tiles that the chunk has; none where it is older than all columns that are read."""
        if self.tiles is None:
            return range(len(ref.tiles))
        return [tile for tile in self.tiles if tile < len(ref.tiles)]

    def _needed(self, ref: ChunkRef) -> Sequence[TileRef]:
        return [ref.tiles[tile] for tile in self.tiles_of(ref)]

    def decode(
        self,
        ref: ChunkRef,
        data: Sequence[Any],
        helper: Executor | None,
        *,
        is_raw: bool = False,
        allocate: Allocate = pa.allocate_buffer,
    ) -> pa.RecordBatch:
        """Return the rows of a chunk from the stored or raw bytes of its needed tiles, in the order of ``tiles_of``.

        With ``helper`` half of the tiles are decoded in its thread. Stored tiles are inflated into memory of
        ``allocate``. Raises ``ChunkFormatError`` and ``ChecksumMismatchError``.
        """
        decode = partial(decode_tiles, ref, is_raw=is_raw, allocate=allocate)
        jobs = list(zip(self.tiles_of(ref), data, strict=True))
        if ref.rows >= _SHORT_ROWS:
            return self._assemble(ref, _decoded(decode, jobs, helper))
        if is_raw or not self._is_inflated(ref):
            with self._short:
                return self._assemble(ref, _decoded(decode, jobs, helper))
        decoded = _decoded(decode, jobs, helper)
        with self._short:
            return self._assemble(ref, decoded)

    def _is_inflated(self, ref: ChunkRef) -> bool:
        """Return whether decoding the tiles takes more than verifying and copying them."""
        return sum(tile.raw_bytes for tile in self._needed(ref)) > _INFLATED * self.stored_bytes(ref)

    def _assemble(self, ref: ChunkRef, decoded: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
        older = OlderChunk(len(ref.tiles), ref.rows) if len(ref.tiles) < len(self._layout.columns) else None
        if self._kept is not None:
            return self._with_matrices(ref, self._kept, dict(zip(self.tiles_of(ref), decoded, strict=True)), older)
        batch = assemble_as_stored(decoded, self._layout, self._version_schema, self._fetched, older=older)
        return self._checked(ref, batch)

    def _with_matrices(
        self, ref: ChunkRef, kept: ChunkColumns, tiles: Mapping[int, pa.RecordBatch], older: OlderChunk | None
    ) -> pa.RecordBatch:
        """Return the batch of the single columns and of the matrices."""
        fields = list(self.schema)
        columns: list[pa.Array] = []
        if kept.single:
            indices = self._layout.tiles_of(kept.single, tile_count=older and older.tiles)
            chosen = [tiles[index] for index in indices]
            single = assemble_as_stored(chosen, self._layout, self._version_schema, kept.single, older=older)
            columns += cast_batch(single, pa.schema(fields[: len(kept.single)])).columns
        matrices = kept.matrix_arrays(tiles, self._version_schema, ref.rows)
        return self._checked(ref, pa.RecordBatch.from_arrays([*columns, *matrices], schema=self.schema))

    def _checked(self, ref: ChunkRef, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the rows that pass, in their final types, after a comparison of their number with the manifest."""
        if batch.num_rows != ref.rows:
            raise ChunkFormatError(
                f"chunk {ref} holds {batch.num_rows} rows, its manifest records {ref.rows}",
                dataset=ref.dataset,
                chunk=str(ref),
                expected=ref.rows,
                actual=batch.num_rows,
            )
        if self._condition is not None:
            batch = self._passing(batch, self._condition)
        batch = cast_batch(batch, self.schema)
        # Of two threads at once one may overwrite the other's size. The next chunk measures it again.
        self._row_bytes = max(self._row_bytes, held_bytes(batch) / max(1, batch.num_rows))
        self.is_measured = True
        return batch

    def _passing(self, batch: pa.RecordBatch, condition: pc.Expression) -> pa.RecordBatch:
        """Return the rows that pass, in their stored types: the caller widens these rows only."""
        fields = pa.schema([self._version_schema.field(column) for column in self._used])
        tested = cast_batch(batch.select([self._fetched.index(column) for column in self._used]), fields)
        return only_rows(batch.select(list(range(len(self._columns)))), passing_rows(tested, condition))


def decode_tiles(
    ref: ChunkRef, tiles: Sequence[tuple[int, Any]], *, is_raw: bool = False, allocate: Allocate = pa.allocate_buffer
) -> list[pa.RecordBatch]:
    """Verify and decode tiles of a chunk, each given by its index and its stored or raw bytes."""
    decoded = []
    for index, data in tiles:
        where = {"dataset": ref.dataset, "chunk": str(ref), "tile": index}
        tile = ref.tiles[index]
        decoded.append(tile.decode_raw(data, where) if is_raw else tile.decode(data, where, allocate))
    return decoded


def _decoded(
    decode: Callable[[Sequence[tuple[int, Any]]], list[pa.RecordBatch]],
    jobs: Sequence[tuple[int, Any]],
    helper: Executor | None,
) -> list[pa.RecordBatch]:
    if helper is None or len(jobs) < 2:
        return decode(jobs)
    other_half = helper.submit(decode, jobs[1::2])
    decoded: list[Any] = [None] * len(jobs)
    decoded[::2] = decode(jobs[::2])
    decoded[1::2] = other_half.result()
    return decoded
