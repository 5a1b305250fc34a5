from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import os
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from typing import IO, Any

import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest
import zstandard

from millrace.errors import SourceCorruptError, SourceEmptyError, SourceFormatError, UsageError
from millrace.sources import SourceOptions, open_source, plan_source

TEXT = b"a,b\n" + b"".join(b"%d,word%d\n" % (number, number) for number in range(200_000))


@pytest.fixture
def feed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bytes], None]]:
    """Return ``feed(data)``, which makes standard input a pipe with these bytes."""
    threads = []
    ends: list[IO[bytes]] = []

    def run(data: bytes) -> None:
        out, into = os.pipe()
        ends.append(os.fdopen(out, "rb", buffering=0))

        def write() -> None:
            with contextlib.suppress(BrokenPipeError), os.fdopen(into, "wb", buffering=0) as pipe:
                left = memoryview(data)
                while left:
                    left = left[pipe.write(left) :]

        threads.append(threading.Thread(target=write))
        threads[-1].start()
        monkeypatch.setattr(sys, "stdin", ends[-1])

    yield run
    for end in ends:
        end.close()
    for thread in threads:
        thread.join(30)


def as_parquet(table: pa.Table) -> bytes:
    out = io.BytesIO()
    pq.write_table(table, out)
    return out.getvalue()


def as_stream(table: pa.Table) -> bytes:
    out = io.BytesIO()
    with pa.ipc.new_stream(out, table.schema) as writer:
        writer.write_table(table)
    return out.getvalue()


TABLE = pa.table({"a": range(1000)})


@pytest.mark.parametrize(
    ("make", "options", "format_", "rows"),
    [
        (lambda: TEXT, {}, "csv", 200_000),
        (lambda: TEXT, {"infer_bytes": 100}, "csv", 200_000),
        (lambda: gzip.compress(TEXT), {}, "csv", 200_000),
        (lambda: b'{"a":1}\n' * 5, {}, "jsonl", 5),
        (lambda: b"a;b\n1;2\n", {"delimiter": ";"}, "csv", 1),
        (lambda: "a\nKöln\n".encode("utf-16"), {"encoding": "utf-16"}, "csv", 1),
        (lambda: b"words\n", {"header": False}, "csv", 1),
        (lambda: as_parquet(TABLE), {}, "parquet", 1000),
        (lambda: as_stream(TABLE), {}, "arrow", 1000),
        (lambda: b"\0" * 2_500_000, {"format": "bytes"}, "bytes", 3),
        (lambda: b"", {"format": "bytes"}, "bytes", 1),
    ],
    ids=[
        "csv",
        "csv beyond what was looked at",
        "gzip",
        "jsonl",
        "delimiter",
        "encoding",
        "no header",
        "parquet",
        "arrow",
        "bytes",
        "nothing",
    ],
)
def test_standard_input_is_read_once_from_front_to_back(
    feed: Callable[[bytes], None], make: Callable[[], bytes], options: dict[str, Any], format_: str, rows: int
) -> None:
    data = make()
    feed(data)
    plan = plan_source("-", SourceOptions(**options))
    assert plan.format == format_
    with open_source(plan) as reader:
        assert sum(batch.num_rows for batch in reader) == rows
    assert reader.bytes_read >= len(data) * 0.9
    with pytest.raises(UsageError, match="standard input was read already"):
        list(open_source(plan))


def test_the_bytes_inspected_by_the_plan_are_read_too(feed: Callable[[bytes], None]) -> None:
    feed(TEXT)
    plan = plan_source("-", SourceOptions(infer_bytes=1000))
    expected = pc.read_csv(io.BytesIO(TEXT))
    assert pa.Table.from_batches(open_source(plan)).equals(expected)


def test_standard_input_may_begin_with_skippable_frames_and_have_empty_streams(feed: Callable[[bytes], None]) -> None:
    text = b"id\n" + b"".join(b"%d\n" % number for number in range(100))
    skippable = struct.pack("<II", 0x184D2A50, 200_000) + bytes(200_000)
    for data in (
        skippable + skippable + zstandard.ZstdCompressor().compress(text),
        bz2.compress(text[:30]) + bz2.compress(b"") + bz2.compress(text[30:]),
    ):
        feed(data)
        with open_source(plan_source("-", SourceOptions(format="csv"))) as reader:
            assert [row for batch in reader for row in batch["id"].to_pylist()] == list(range(100))


def test_two_inputs_are_never_the_same_source(feed: Callable[[bytes], None]) -> None:
    digests = set()
    for _ in range(2):
        feed(b"a,b\n1,2\n")
        digests.add(plan_source("-").facts()["digest"])
    assert len(digests) == 2


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", SourceEmptyError),
        (b"words\n", UsageError),
        (b"a,line\n", UsageError),
        (b"\x1f\x8b\x08\0cut", SourceCorruptError),
        (b'[{"x":1,"y":"a"},{"x":2,"y":"b"}]', SourceFormatError),
    ],
)
def test_invalid_standard_input_is_refused(feed: Callable[[bytes], None], data: bytes, error: type[Exception]) -> None:
    feed(data)
    with pytest.raises(error):
        list(open_source(plan_source("-")))


def test_a_process_without_standard_input_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(UsageError, match="there is no standard input"):
        plan_source("-")
