"""The product's functions that a profile puts its timers around.

A place names a function where the product looks it up at each call: in the module that imports it by name. A function
that is bound once (in an ``lru_cache``, an event loop's watcher) cannot be timed. A place that is not called adds no
line, so a wrong one would not be noticed. For that reason tests/unit/bench/test_profile.py calls every place, and a
report names those that its own run never called.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

__all__ = ["CSV_PLACES", "FILTER_PLACES", "LOAD_PLACES", "READ_PLACES", "CodeLocation", "resolve"]


@dataclass(frozen=True, slots=True)
class CodeLocation:
    """A function by module and qualified name, and the line of the profile that its time counts for."""

    label: str
    module: str
    name: str


_COMMON = (
    CodeLocation("checksum", "xxhash", "xxh3_128_digest"),
    CodeLocation("checksum", "millrace.chunks.encoding.codecs", "Plain.raw_checksum"),
    CodeLocation("driver: serialize and send", "cassandra.cluster", "Session.execute_async"),
    CodeLocation("driver: receive", "millrace.compat.cassandra.large_frames", "LargeFrames._receive"),
    CodeLocation("driver: answers", "cassandra.connection", "Connection.process_msg"),
    CodeLocation("wait for the cluster", "millrace.store.cluster.session", "CassandraSession.execute_watched"),
)
LOAD_PLACES = (
    *_COMMON,
    CodeLocation("plan (types, sample)", "millrace.api.loading", "Loading.plan"),
    CodeLocation("publish", "millrace.api.loading", "Loading.publish"),
    CodeLocation("read the source", "millrace.sources.io.streams", "RawStream.read"),
    CodeLocation("group rows", "millrace.chunks.grouper", "cumulative_row_bytes"),
    CodeLocation("group rows", "millrace.chunks.grouper", "RowGrouper._take"),
    CodeLocation("narrow types", "millrace.chunks.encode", "narrow_batch"),
    CodeLocation("numbers by their bytes", "millrace.chunks.encode", "to_stored"),
    CodeLocation("encode to Arrow IPC", "millrace.chunks.tile", "_to_stream"),
    CodeLocation("compress", "millrace.chunks.encoding.codecs", "Gzip.compress"),
    CodeLocation("statistics", "millrace.chunks.encode", "compute_stats"),
    CodeLocation("encode, rest", "millrace.load.split", "encode_row_group"),
    CodeLocation("bind a batch", "millrace.store.chunks.chunk_writer", "ChunkWriter._batch"),
    CodeLocation("wait for the cluster", "millrace.store.cluster.window", "ByteWindow.take"),
    CodeLocation("wait for the cluster", "millrace.store.cluster.writer", "ReplicatedWriter.write"),
    CodeLocation("wait for the last answers, write pages", "millrace.store.chunks.chunk_writer", "ChunkWriter.finish"),
)
CSV_PLACES = (
    *LOAD_PLACES,
    CodeLocation("cut records", "millrace.sources.text.blocks", "scan_quotes"),
    CodeLocation("cut records", "millrace.sources.text.blocks", "last_record_end"),
    CodeLocation("cut records", "millrace.sources.text.blocks", "count_lines"),
    CodeLocation("parse", "millrace.sources.csv.parser", "CsvParser.parse"),
)
READ_PLACES = (
    *_COMMON,
    CodeLocation("catalogue: which version", "millrace.store.catalogue.catalogue", "Catalogue.resolve"),
    CodeLocation("pages: which chunks", "millrace.store.catalogue.manifest", "Page.refs"),
    CodeLocation("wait for the lease", "millrace.store.catalogue.lease", "Lease.wait_taken"),
    CodeLocation("fetch, rest", "millrace.store.chunks.chunk_reader", "ChunkReader.fetch"),
    CodeLocation("fetch, rest", "millrace.store.chunks.chunk_reader", "ChunkReader.fetch_many"),
    CodeLocation("decompress", "millrace.chunks.encoding.codecs", "Gzip.decompress"),
    CodeLocation("decompress", "millrace.chunks.encoding.codecs", "Plain.decompress"),
    CodeLocation("open Arrow IPC", "millrace.chunks.tile", "_from_stream"),
    CodeLocation("decode, rest", "millrace.dataset.scan", "_decoded"),
    CodeLocation("put tiles together", "millrace.dataset.scan", "assemble_as_stored"),
    CodeLocation("cast to the version's types", "millrace.dataset.scan", "cast_batch"),
    CodeLocation("read, rest", "millrace.dataset.scan", "Scan._read_group"),
)
FILTER_PLACES = (
    *READ_PLACES,
    CodeLocation("filter: which columns it uses", "millrace.dataset.dataset", "columns_for"),
    CodeLocation("filter: which chunks may pass", "millrace.dataset.filters.prune", "ChunkFilter.kept"),
    CodeLocation("filter: which rows pass", "millrace.dataset.scan", "Scan._passing"),
)


def resolve(place: CodeLocation) -> tuple[Any, str]:
    """Return the object that has the function, and its name there; raise if the product no longer has it."""
    owner: Any = importlib.import_module(place.module)
    *path, name = place.name.split(".")
    for part in path:
        owner = getattr(owner, part)
    getattr(owner, name)
    return owner, name
