"""Where and in which order chunks are written: no row references a chunk that is not acknowledged."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from cassandra import ConsistencyLevel, Unavailable
from cassandra.query import BatchStatement, BatchType

from millrace.chunks import Chunk
from millrace.errors import StoreUnavailableError
from millrace.store.catalogue.attempt import LoadAttempt, MetadataBucket
from millrace.store.catalogue.catalogue import Catalogue
from millrace.store.catalogue.catalogue_writer import CatalogueWriter
from millrace.store.catalogue.manifest import PageRef
from millrace.store.catalogue.page import PAGE_BYTES_MAX, decode_page
from millrace.store.chunks.chunk_writer import AttemptReport, ChunkWriter
from millrace.store.cluster.driver import LOCAL_ONE, TWO
from millrace.store.cluster.writer import ReplicatedWriter
from tests.unit.store.conftest import attempt_row, encode, make_chunk
from tests.unit.store.fakes import Attempt, FakeCassandra, FakeHost

Make = Callable[..., ReplicatedWriter]
ROW = attempt_row()
UNAVAILABLE = Unavailable("one node is down", ConsistencyLevel.TWO, 2, 1)


def load(
    cassandra: FakeCassandra, make_writer: Make, chunks: list[Chunk], bucket_bytes: int = 5_000_000, **limits: int
) -> AttemptReport:
    writer = ChunkWriter(cassandra, make_writer(cassandra), ROW, bucket_bytes=bucket_bytes, **limits)
    for chunk in chunks:
        writer.write(chunk)
    return writer.finish()


class Trace:
    """A record of rows in order of acknowledgement that fails on a page whose chunks are not acknowledged yet."""

    def __init__(self, cassandra: FakeCassandra) -> None:
        self.order: list[str] = []
        self.cassandra = cassandra
        inner = cassandra._apply

        def apply(what: list[tuple[str, dict[str, Any]]], level: int, host: Any) -> None:
            for table, row in what:
                if table == "pages":
                    self.check_page(row)
            inner(what, level, host)
            self.order += [self.name(table, row) for table, row in what if row.get("tile", 0) == 0]

        cassandra._apply = apply  # type: ignore[method-assign]

    def name(self, table: str, row: dict[str, Any]) -> str:
        if table == "chunks":
            return f"chunk {row['bucket']}/{row['chunk']}"
        if table == "pages":
            return f"page {row['page']}"
        if table == "under_replicated":
            return f"record {row['bucket']}"
        return table

    def check_page(self, row: dict[str, Any]) -> None:
        sums = (row["chunks"], row["rows"], row["raw_bytes"], row["stored_bytes"])
        page = PageRef(row["attempt_id"], row["page"], *sums, row["checksum"])
        on_a, on_b = (self.tiles(host) for host in (self.cassandra.a, self.cassandra.b))
        noted = {note["bucket"] for note in self.cassandra.table("under_replicated")}
        for ref in decode_page(ROW.dataset, page, row["data"]).refs():
            named = {(ref.bucket, ref.chunk, tile) for tile in range(len(ref.tiles))}
            assert named <= on_a | on_b, f"page {row['page']} names {ref} before it is acknowledged"
            assert named <= on_a & on_b or ref.bucket in noted, f"page {row['page']} comes before the record of {ref}"

    def tiles(self, host: FakeHost) -> set[tuple[int, int, int]]:
        return {(row["bucket"], row["chunk"], row["tile"]) for row in self.cassandra.table("chunks", host)}


def test_a_chunk_is_one_unlogged_batch_of_one_partition_with_its_tiles_in_order(make_writer: Make) -> None:
    cassandra = FakeCassandra()
    chunk = make_chunk(100)
    load(cassandra, make_writer, [chunk])
    (attempt,) = [a for a in cassandra.writes() if a.rows[0][0] == "chunks"]
    assert isinstance(attempt.statement, BatchStatement)
    assert attempt.statement.batch_type == BatchType.UNLOGGED
    assert attempt.statement.is_idempotent
    assert attempt.level == TWO
    assert {tuple(row[k] for k in ("dataset", "attempt_id", "bucket", "chunk")) for _, row in attempt.rows} == {
        ("flights", ROW.attempt_id, 0, 0)
    }
    assert [row["tile"] for _, row in attempt.rows] == [0, 1, 2]
    assert [row["data"] for _, row in attempt.rows] == [tile.stored for tile in chunk.tiles]


def test_the_order_is_writer_row_chunks_journal_chunks_page_and_writer_row(make_writer: Make) -> None:
    cassandra = FakeCassandra()
    trace = Trace(cassandra)
    load(cassandra, make_writer, [make_chunk(80_000, seed) for seed in range(5)], bucket_bytes=5_000_000)
    order = trace.order
    placed = [f"chunk {bucket}/{chunk}" for bucket, chunk in ((0, 0), (0, 1), (1, 2), (1, 3), (2, 4))]
    assert sorted(order) == sorted(["datasets", *["attempts"] * 4, *placed, "page -1", "page -2", "page 0"])
    assert order[:2] == ["datasets", "attempts"]
    assert order.index("page -1") > max(order.index("chunk 0/0"), order.index("chunk 0/1"))
    assert order.index("page -2") > max(order.index("chunk 1/2"), order.index("chunk 1/3"))
    assert order[-2:] == ["page 0", "attempts"]


def test_an_under_replicated_bucket_is_recorded_before_any_page_that_names_its_chunks(make_writer: Make) -> None:
    def behave(attempt: Attempt) -> Any:
        if attempt.is_probe:
            return "ok"
        table, row = attempt.rows[0]
        return UNAVAILABLE if attempt.level == TWO and table == "chunks" and row["chunk"] in (1, 4) else "ok"

    cassandra = FakeCassandra(behave, commitlog_sync_window_s=0)
    Trace(cassandra)
    report = load(cassandra, make_writer, [make_chunk(80_000, seed) for seed in range(5)])
    noted = [(row["bucket"], row["chunks"]) for row in cassandra.table("under_replicated") if row["bucket"] >= 0]
    under_replicated = {(row["bucket"], row["chunk"]) for row in cassandra.table("chunks", cassandra.a)} ^ {
        (row["bucket"], row["chunk"]) for row in cassandra.table("chunks", cassandra.b)
    }
    assert {chunk for _, chunk in under_replicated} >= {1, 4}
    assert sorted({bucket for bucket, _ in under_replicated}) == sorted(bucket for bucket, _ in noted)
    assert sum(chunks for _, chunks in noted) == len(under_replicated)
    assert report.under_replicated >= len(under_replicated)


def test_no_statement_is_prepared_while_a_load_runs(make_writer: Make) -> None:
    """A node may be frozen then: preparing an under-replicated record on demand stalled a load for four seconds."""

    def behave(attempt: Attempt) -> Any:
        return UNAVAILABLE if not attempt.is_probe and attempt.level == TWO and prepared_before else "ok"

    cassandra = FakeCassandra(behave, commitlog_sync_window_s=0)
    prepared_before: set[str] = set()
    begin = CatalogueWriter.begin_attempt

    def begun(catalogue_writer: CatalogueWriter, row: LoadAttempt) -> int:
        replicas = begin(catalogue_writer, row)
        prepared_before.update(cassandra._prepared)
        return replicas

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(CatalogueWriter, "begin_attempt", begun)
        report = load(cassandra, make_writer, [make_chunk(80_000, seed) for seed in range(5)])
    assert report.under_replicated >= 5
    assert set(cassandra._prepared) == prepared_before


def test_chunks_acknowledged_just_before_a_node_is_lost_are_recorded_as_under_replicated(make_writer: Make) -> None:
    """A killed node loses the end of its commit log, including writes acknowledged at TWO."""

    def behave(attempt: Attempt) -> Any:
        if attempt.is_probe:
            return "ok"
        table, row = attempt.rows[0]
        return UNAVAILABLE if attempt.level == TWO and table == "chunks" and row["chunk"] == 4 else "ok"

    cassandra = FakeCassandra(behave, commitlog_sync_window_s=60)
    report = load(cassandra, make_writer, [make_chunk(80_000, seed) for seed in range(5)])
    noted: dict[int, int] = {}
    for row in cassandra.table("under_replicated"):
        noted[row["bucket"]] = noted.get(row["bucket"], 0) + row["chunks"]
    assert sum(chunks for bucket, chunks in noted.items() if bucket >= 0) >= 5
    assert set(noted) >= {0, 1, 2, -1, -2}
    assert report.under_replicated >= 5


def test_a_page_on_one_node_is_recorded_and_reported_as_under_replicated(make_writer: Make) -> None:
    def behave(attempt: Attempt) -> Any:
        pages = not attempt.is_probe and attempt.rows[0][0] == "pages"
        return UNAVAILABLE if pages and attempt.level == TWO else "ok"

    cassandra = FakeCassandra(behave)
    report = load(cassandra, make_writer, [make_chunk(100)])
    assert MetadataBucket.PAGES in {row["bucket"] for row in cassandra.table("under_replicated")}
    assert report.under_replicated >= 1


def test_a_writers_row_on_one_node_is_recorded_and_reported_as_under_replicated(make_writer: Make) -> None:
    def behave(attempt: Attempt) -> Any:
        first = not attempt.is_probe and attempt.rows[0][0] == "datasets"
        return UNAVAILABLE if first and attempt.level == TWO else "ok"

    cassandra = FakeCassandra(behave)
    report = load(cassandra, make_writer, [make_chunk(100)])
    assert MetadataBucket.CATALOGUE in {row["bucket"] for row in cassandra.table("under_replicated")}
    assert report.under_replicated >= 1


def test_no_bucket_is_larger_than_its_limit_and_chunk_numbers_continue(make_writer: Make) -> None:
    cassandra = FakeCassandra()
    sizes = [90_000, 150_000, 10, 100_000, 60_000, 60_000, 60_000, 199_000, 10]
    chunks = [make_chunk(rows, seed) for seed, rows in enumerate(sizes)]
    load(cassandra, make_writer, chunks, bucket_bytes=5_000_000)
    bucket_bytes: dict[int, int] = {}
    buckets = {}
    for row in cassandra.table("chunks"):
        bucket_bytes[row["bucket"]] = bucket_bytes.get(row["bucket"], 0) + len(row["data"])
        buckets[row["chunk"]] = row["bucket"]
    assert max(bucket_bytes.values()) <= 5_000_000
    assert list(buckets) == list(range(len(sizes)))
    assert list(buckets.values()) == sorted(buckets.values())
    assert sum(bucket_bytes.values()) == sum(chunk.stored_bytes for chunk in chunks)


def test_pages_name_every_chunk_once_in_order_with_its_checksums(make_writer: Make) -> None:
    cassandra = FakeCassandra()
    chunks = [make_chunk(50_000, seed) for seed in range(9)]
    report = load(cassandra, make_writer, chunks)
    catalogue = Catalogue(cassandra)
    assert catalogue.pages.finished("flights", ROW.attempt_id) == list(report.pages)
    refs = [ref for page in report.pages for ref in catalogue.pages.page("flights", page).refs()]
    assert [ref.chunk for ref in refs] == list(range(9))
    for ref, chunk in zip(refs, chunks, strict=True):
        assert ref.rows == chunk.rows
        assert [tile.stored_checksum for tile in ref.tiles] == [tile.stored_checksum for tile in chunk.tiles]
        assert (ref.stored_bytes, ref.raw_bytes) == (chunk.stored_bytes, chunk.raw_bytes)
    assert report.rows == sum(chunk.rows for chunk in chunks)
    assert report.chunks == 9


def test_journal_pages_name_every_bucket_except_the_last(make_writer: Make) -> None:
    """The journal and the chunks of the last bucket equal the pages, so a failed attempt can be resumed."""
    cassandra = FakeCassandra()
    load(cassandra, make_writer, [make_chunk(100_000, seed) for seed in range(7)])
    catalogue = Catalogue(cassandra)
    journal = [
        r for p in catalogue.pages.journal("flights", ROW.attempt_id) for r in catalogue.pages.page("flights", p).refs()
    ]
    pages = [
        r
        for p in catalogue.pages.finished("flights", ROW.attempt_id)
        for r in catalogue.pages.page("flights", p).refs()
    ]
    assert journal == pages[: len(journal)]
    assert {ref.bucket for ref in pages[len(journal) :]} == {pages[-1].bucket}


def test_pages_stay_below_their_limit_and_a_full_one_is_written_before_the_end(make_writer: Make) -> None:
    cassandra = FakeCassandra()
    chunk = make_chunk(40, columns=30)
    report = load(cassandra, make_writer, [chunk] * 100, bucket_bytes=100_000, page_bytes_max=15_000)
    sizes = [len(row["data"]) for row in cassandra.table("pages") if row["page"] >= 0]
    assert len(sizes) == len(report.pages) > 2
    assert max(sizes) <= 15_000
    assert report.chunks == 100


def test_the_chunks_of_one_bucket_are_divided_into_pages_below_the_limit(make_writer: Make) -> None:
    cassandra = FakeCassandra()
    report = load(
        cassandra, make_writer, [make_chunk(40, seed, columns=30) for seed in range(60)], page_bytes_max=15_000
    )
    assert max(len(row["data"]) for row in cassandra.table("pages")) <= 15_000
    assert len(report.pages) > 2
    pages = Catalogue(cassandra).pages
    assert [ref.chunk for page in report.pages for ref in pages.page("flights", page).refs()] == list(range(60))


def test_the_page_of_one_chunk_has_no_bounds_if_it_would_be_too_large_with_them(make_writer: Make) -> None:
    cassandra = FakeCassandra()
    rng = np.random.default_rng(1)
    batch = pa.RecordBatch.from_pydict({f"c{i}": pa.array([rng.bytes(64), rng.bytes(64)]) for i in range(500)})
    report = load(cassandra, make_writer, [encode(batch)], page_bytes_max=50_000)
    page = Catalogue(cassandra).pages.page("flights", report.pages[0])
    assert len(cassandra.table("pages")[0]["data"]) <= 50_000
    assert page.stats_batch().to_pylist()[0]["c0"] == {"nulls": 0, "min": None, "max": None}


def test_a_single_chunk_of_5000_columns_makes_a_page_below_a_megabyte(make_writer: Make) -> None:
    cassandra = FakeCassandra()
    rng = np.random.default_rng(1)
    columns = [pa.array([rng.bytes(64), rng.bytes(64)]) for _ in range(5000)]
    load(cassandra, make_writer, [encode(pa.RecordBatch.from_arrays(columns, names=[f"c{i}" for i in range(5000)]))])
    (row,) = cassandra.table("pages")
    assert len(row["data"]) <= PAGE_BYTES_MAX


def test_a_page_that_has_room_keeps_its_bounds(make_writer: Make) -> None:
    cassandra = FakeCassandra()
    report = load(cassandra, make_writer, [encode(pa.RecordBatch.from_pydict({"x": [3, 1, 2]}))])
    stats = Catalogue(cassandra).pages.page("flights", report.pages[0]).stats_batch()
    assert stats.to_pylist() == [{"x": {"nulls": 0, "min": 1, "max": 3}}]


def test_a_column_that_widens_starts_a_new_page(make_writer: Make) -> None:
    """The statistics of a page have one schema."""

    def chunk(kind: pa.DataType) -> Chunk:
        return encode(pa.RecordBatch.from_arrays([pa.array([1, 2, None], kind)], names=["x"]))

    cassandra = FakeCassandra()
    report = load(cassandra, make_writer, [chunk(pa.int64()), chunk(pa.int64()), chunk(pa.float64())])
    assert [page.chunks for page in report.pages] == [2, 1]


def test_a_source_without_rows_has_no_pages_and_finishes(make_writer: Make) -> None:
    cassandra = FakeCassandra()
    report = load(cassandra, make_writer, [])
    assert (report.pages, report.rows, report.chunks) == ((), 0, 0)
    (row,) = cassandra.table("attempts")
    assert row["finished"] is True


def test_a_chunk_that_fails_ends_the_load_before_any_page_names_it(make_writer: Make) -> None:
    def behave(attempt: Attempt) -> Any:
        return UNAVAILABLE if not attempt.is_probe and attempt.rows[0][0] == "chunks" else "ok"

    cassandra = FakeCassandra(behave, request_timeout_s=0.3)
    with pytest.raises(StoreUnavailableError, match="chunk flights/"):
        load(cassandra, make_writer, [make_chunk(10)])
    assert cassandra.table("pages") == []
    assert cassandra.table("attempts")[0]["finished"] is False


def test_writes_return_to_two_when_the_node_is_back(make_writer: Make) -> None:
    down = True
    cassandra = FakeCassandra(lambda attempt: UNAVAILABLE if down and attempt.level == TWO else "ok")
    writes = make_writer(cassandra)
    writer = ChunkWriter(cassandra, writes, ROW, bucket_bytes=5_000_000)
    writer.write(make_chunk(10, 1))
    down = False
    cassandra.wait_for(lambda: any(a.is_probe for a in cassandra.attempts))
    for seed in range(2, 200):
        writer.write(make_chunk(10, seed))
        if writes.stats.acknowledged and cassandra.writes()[-1].level == TWO:
            break
    writer.finish()
    assert cassandra.writes()[-1].level == TWO
    assert any(a.level == LOCAL_ONE for a in cassandra.writes())


def test_a_bucket_counted_after_the_loss_of_a_node_is_recorded_as_under_replicated(make_writer: Make) -> None:
    """The second bucket is acknowledged at TWO, then a node is lost while the first bucket is still pending."""
    pending: list[Attempt] = []

    def behave(attempt: Attempt) -> Any:
        if not attempt.is_probe and attempt.rows[0][0] == "chunks" and attempt.rows[0][1]["chunk"] == 0:
            pending.append(attempt)
            return "silent"
        return "ok"

    cassandra = FakeCassandra(behave)
    writes = make_writer(cassandra)
    writer = ChunkWriter(cassandra, writes, ROW, bucket_bytes=300_000)
    for seed in range(2):
        assert writer.write(make_chunk(10_000, seed)).bucket == seed
    cassandra.wait_for(lambda: pending != [] and {row["chunk"] for row in cassandra.table("chunks")} == {1})

    def lose() -> None:
        writes.replica_loss_times.append(time.monotonic())
        pending[0].answer("ok")

    threading.Timer(0.1, lose).start()
    assert writer.finish().under_replicated >= 2
    notes = [row for row in cassandra.table("under_replicated") if row["bucket"] >= 0]
    assert {(note["bucket"], note["chunks"]) for note in notes} == {(0, 1), (1, 1)}


@pytest.mark.parametrize("table", ["attempts", "pages"])
def test_with_a_node_known_to_be_down_the_under_replicated_record_precedes_the_row(
    make_writer: Make, table: str
) -> None:
    """A loader that dies between the two writes must not leave an unrecorded row on one node."""
    cassandra = FakeCassandra()
    cassandra.b.is_up = False
    trace = Trace(cassandra)
    load(cassandra, make_writer, [make_chunk(10)])
    bucket, row = (MetadataBucket.CATALOGUE, "attempts") if table == "attempts" else (MetadataBucket.PAGES, "page 0")
    assert trace.order.index(f"record {bucket}") < trace.order.index(row)
