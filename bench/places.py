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

__all__ = ["CSV_PLACES", "FILTER_PLACES", "LOAD_PLACES", "READ_PLACES", "Place", "resolve"]


@dataclass(frozen=True, slots=True)
class Place:
    """A function by module and qualified name, and the line of the profile that its time counts for."""

    label: str
    module: str
    name: str


_COMMON = (
    Place("checksum", "xxhash", "xxh3_128_digest"),
    Place("checksum", "millrace.chunks.codecs", "Plain.raw_checksum"),
    Place("driver: serialize and send", "cassandra.cluster", "Session.execute_async"),
    Place("driver: receive", "millrace.store.large_frames", "LargeFrames._receive"),
    Place("driver: answers", "cassandra.connection", "Connection.process_msg"),
    Place("wait for the cluster", "millrace.store.session", "CassandraSession.execute_watched"),
)
LOAD_PLACES = (
    *_COMMON,
    Place("plan (types, sample)", "millrace.api", "Store._plan"),
    Place("publish", "millrace.api", "Store.publish"),
    Place("read the source", "millrace.sources.streams", "RawStream.read"),
    Place("group rows", "millrace.chunks.grouper", "cumulative_row_bytes"),
    Place("group rows", "millrace.chunks.grouper", "RowGrouper._take"),
    Place("narrow types", "millrace.chunks.encode", "narrow_batch"),
    Place("numbers by their bytes", "millrace.chunks.encode", "to_stored"),
    Place("encode to Arrow IPC", "millrace.chunks.tile", "_to_stream"),
    Place("compress", "millrace.chunks.codecs", "Gzip.compress"),
    Place("statistics", "millrace.chunks.encode", "compute_stats"),
    Place("encode, rest", "millrace.load.split", "encode_row_group"),
    Place("bind a batch", "millrace.store.chunk_writer", "ChunkWriter._batch"),
    Place("wait for the cluster", "millrace.store.window", "ByteWindow.take"),
    Place("wait for the cluster", "millrace.store.writer", "ReplicatedWriter.write"),
    Place("wait for the last answers, write pages", "millrace.store.chunk_writer", "ChunkWriter.finish"),
)
CSV_PLACES = (
    *LOAD_PLACES,
    Place("cut records", "millrace.sources.blocks", "scan_quotes"),
    Place("cut records", "millrace.sources.blocks", "last_record_end"),
    Place("cut records", "millrace.sources.blocks", "count_lines"),
    Place("parse", "millrace.sources.csv_format", "CsvParser.parse"),
)
READ_PLACES = (
    *_COMMON,
    Place("catalogue: which version", "millrace.store.catalogue", "Catalogue.resolve"),
    Place("pages: which chunks", "millrace.store.manifest", "Page.refs"),
    Place("wait for the lease", "millrace.store.lease", "Lease.wait_taken"),
    Place("fetch, rest", "millrace.store.chunk_reader", "ChunkReader.fetch"),
    Place("fetch, rest", "millrace.store.chunk_reader", "ChunkReader.fetch_many"),
    Place("decompress", "millrace.chunks.codecs", "Gzip.decompress"),
    Place("decompress", "millrace.chunks.codecs", "Plain.decompress"),
    Place("open Arrow IPC", "millrace.chunks.tile", "_from_stream"),
    Place("decode, rest", "millrace.dataset.scan", "_decoded"),
    Place("put tiles together", "millrace.dataset.scan", "assemble_as_stored"),
    Place("cast to the version's types", "millrace.dataset.scan", "cast_batch"),
    Place("read, rest", "millrace.dataset.scan", "Scan._read_group"),
)
FILTER_PLACES = (
    *READ_PLACES,
    Place("filter: which columns it uses", "millrace.dataset.dataset", "columns_for"),
    Place("filter: which chunks may pass", "millrace.dataset.dataset", "kept_chunks"),
    Place("filter: which rows pass", "millrace.dataset.scan", "Scan._passing"),
)


def resolve(place: Place) -> tuple[Any, str]:
    """Return the object that has the function, and its name there; raise if the product no longer has it."""
    owner: Any = importlib.import_module(place.module)
    *path, name = place.name.split(".")
    for part in path:
        owner = getattr(owner, part)
    getattr(owner, name)
    return owner, name
