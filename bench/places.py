"""The product's functions that a profile puts its timers around.

A timer replaces a function in the module or class where the product looks it up at each call. That is the module that
imports it by name, which may differ from the module that defines it. A function that is bound once (in an
``lru_cache``, an event loop's watcher) cannot be timed. A location that is not called adds no line, so a wrong one
would not be noticed. For that reason tests/unit/bench/test_profile.py calls every location, and a report names those
that its own run never called.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cassandra.cluster
import cassandra.connection
import xxhash

from millrace.api import loading
from millrace.arrow import cumulative_row_bytes
from millrace.chunks import assemble_as_stored, cast_batch, compute_stats, encode, encode_row_group, grouper, tile
from millrace.chunks.encoding.codecs import Codec, Gzip, Uncompressed
from millrace.chunks.encoding.stored_types import to_stored
from millrace.chunks.narrow import narrow_batch
from millrace.compat.cassandra.large_frames import LargeFrames
from millrace.dataset import chunk_decoder, dataset
from millrace.dataset.chunk_decoder import decode_tiles
from millrace.dataset.chunk_source import ChunkSource
from millrace.dataset.filters.conditions import columns_for
from millrace.dataset.filters.prune import ChunkFilter
from millrace.dataset.filters.rows import passing_rows
from millrace.load import encoding, make_plan, publish
from millrace.sources.csv.parser import CsvParser
from millrace.sources.io.byte_streams import RawStream
from millrace.sources.text import blocks
from millrace.sources.text.records import count_lines, last_record_end, scan_quotes
from millrace.store.catalogue.catalogue import Catalogue
from millrace.store.catalogue.lease import Lease
from millrace.store.catalogue.page import Page
from millrace.store.chunks.chunk_reader import ChunkReader
from millrace.store.chunks.chunk_writer import ChunkWriter
from millrace.store.cluster.session import CassandraSession
from millrace.store.cluster.window import ByteWindow
from millrace.store.cluster.writer import ReplicatedWriter

__all__ = ["CSV_PLACES", "FILTER_PLACES", "LOAD_PLACES", "READ_PLACES", "CodeLocation"]


@dataclass(frozen=True, slots=True)
class CodeLocation:
    """A function in the module or class ``owner``, and the line of the profile that its time counts for."""

    label: str
    owner: Any
    function: Callable[..., Any]

    @property
    def name(self) -> str:
        """Return the function's name in ``owner``."""
        return self.function.__name__


_COMMON = (
    CodeLocation("checksum", xxhash, xxhash.xxh3_128_digest),
    CodeLocation("checksum", Codec, Codec.raw_checksum),
    CodeLocation("driver: serialize and send", cassandra.cluster.Session, cassandra.cluster.Session.execute_async),
    CodeLocation("driver: receive", LargeFrames, LargeFrames.receive),
    CodeLocation("driver: answers", cassandra.connection.Connection, cassandra.connection.Connection.process_msg),
    CodeLocation("wait for the cluster", CassandraSession, CassandraSession.execute_watched),
)
LOAD_PLACES = (
    *_COMMON,
    CodeLocation("plan (types, sample)", loading, make_plan),
    CodeLocation("publish", loading, publish),
    CodeLocation("read the source", RawStream, RawStream.read),
    CodeLocation("group rows", grouper, cumulative_row_bytes),
    CodeLocation("narrow types", encode, narrow_batch),
    CodeLocation("numbers by their bytes", encode, to_stored),
    CodeLocation("encode to Arrow IPC", tile, tile.write_stream),
    CodeLocation("compress", Gzip, Gzip.compress),
    CodeLocation("statistics", encode, compute_stats),
    CodeLocation("encode, rest", encoding, encode_row_group),
    CodeLocation("bind batches and submit them", ChunkWriter, ChunkWriter.write),
    CodeLocation("wait for the cluster", ByteWindow, ByteWindow.acquire),
    CodeLocation("wait for the cluster", ReplicatedWriter, ReplicatedWriter.write),
    CodeLocation("wait for the last answers, write pages", ChunkWriter, ChunkWriter.finish),
)
CSV_PLACES = (
    *LOAD_PLACES,
    CodeLocation("cut records", blocks, scan_quotes),
    CodeLocation("cut records", blocks, last_record_end),
    CodeLocation("cut records", blocks, count_lines),
    CodeLocation("parse", CsvParser, CsvParser.parse),
)
READ_PLACES = (
    *_COMMON,
    CodeLocation("catalogue: which version", Catalogue, Catalogue.resolve),
    CodeLocation("pages: which chunks", Page, Page.refs),
    CodeLocation("wait for the lease", Lease, Lease.wait_taken),
    CodeLocation("fetch, rest", ChunkReader, ChunkReader.fetch),
    CodeLocation("fetch, rest", ChunkReader, ChunkReader.fetch_many),
    CodeLocation("decompress", Gzip, Gzip.decompress),
    CodeLocation("decompress", Uncompressed, Uncompressed.decompress),
    CodeLocation("open Arrow IPC", tile, tile.read_stream),
    CodeLocation("decode, rest", chunk_decoder, decode_tiles),
    CodeLocation("put tiles together", chunk_decoder, assemble_as_stored),
    CodeLocation("cast to the version's types", chunk_decoder, cast_batch),
    CodeLocation("read, rest", ChunkSource, ChunkSource.batches),
)
FILTER_PLACES = (
    *READ_PLACES,
    CodeLocation("filter: which columns it uses", dataset, columns_for),
    CodeLocation("filter: which chunks may pass", ChunkFilter, ChunkFilter.kept),
    CodeLocation("filter: which rows pass", chunk_decoder, passing_rows),
)
