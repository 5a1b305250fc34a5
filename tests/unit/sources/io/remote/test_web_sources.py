"""Sources at ``https://`` addresses are read as the same files on a disk, or refused before anything is loaded."""

from __future__ import annotations

import gzip
import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from millrace.errors import MillraceError, SourceChangedError, SourceFormatError, SourceTooLargeError, UsageError
from millrace.sources import SourceFile, SourceOptions, SourcePlan, open_source, plan_source
from millrace.sources.io.remote.access import forget_connections
from millrace.sources.io.streams import open_decompressed
from tests.https_server import Authority, HttpsServer, WebFile
from tests.unit.sources.io.test_compressed import PACKERS

TABLE = pa.table({"n": range(20_000), "name": [f"name {number}" for number in range(20_000)]})
CSV = b"n,name\n" + b"".join(b"%d,name %d\n" % (number, number) for number in range(20_000))
JSONL = b"".join(b'{"n": %d, "name": "name %d"}\n' % (number, number) for number in range(20_000))


def parquet() -> bytes:
    out = pa.BufferOutputStream()
    pyarrow.parquet.write_table(TABLE, out, row_group_size=5_000)
    return out.getvalue().to_pybytes()


def arrow() -> bytes:
    out = pa.BufferOutputStream()
    with pa.ipc.new_file(out, TABLE.schema) as writer:
        writer.write_table(TABLE)
    return out.getvalue().to_pybytes()


CONTENTS: dict[str, Callable[[], bytes]] = {
    "a.csv": lambda: CSV,
    "a.jsonl": lambda: JSONL,
    "a.csv.gz": lambda: gzip.compress(CSV),
    "a.parquet": parquet,
    "a.arrow": arrow,
}


@pytest.fixture
def web(
    monkeypatch: pytest.MonkeyPatch, authority: Authority, tmp_path: Path, server: HttpsServer
) -> Iterator[HttpsServer]:
    """Return a server that the settings allow, and whose authority is trusted."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.write(tmp_path / "ca.pem")))
    monkeypatch.setenv("MILLRACE_SOURCES__HOSTS", server.entry)
    forget_connections()
    yield server
    forget_connections()


def rows(plan: SourcePlan) -> pa.Table:
    with open_source(plan) as reader:
        return pa.Table.from_batches(list(reader), plan.schema)


@pytest.mark.parametrize("name", CONTENTS)
def test_a_file_of_a_web_server_has_the_rows_of_the_file_on_a_disk(web: HttpsServer, tmp_path: Path, name: str) -> None:
    content = CONTENTS[name]()
    (tmp_path / name).write_bytes(content)
    web.files[f"/{name}"] = WebFile(content)
    plan = plan_source(web.url(f"/{name}"), max_splits=4)
    assert rows(plan).equals(rows(plan_source(str(tmp_path / name), max_splits=4)))
    assert [(file.name, file.size_bytes, file.change_id) for file in plan.files] == [(name, len(content), '"v1"')]


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.csv.gz"])
@pytest.mark.parametrize("has_length", [True, False])
def test_without_ranges_a_text_is_one_split(web: HttpsServer, name: str, has_length: bool) -> None:
    web.files[f"/{name}"] = WebFile(CONTENTS[name](), has_ranges=False, has_length=has_length)
    plan = plan_source(web.url(f"/{name}"), SourceOptions(split_bytes=1_000_000))
    assert len(plan.splits) == 1
    assert rows(plan).equals(TABLE)


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow"])
def test_without_ranges_parquet_and_arrow_are_refused_with_the_reason(web: HttpsServer, name: str) -> None:
    web.files[f"/{name}"] = WebFile(CONTENTS[name](), has_ranges=False)
    with pytest.raises(MillraceError, match="range"):
        plan_source(web.url(f"/{name}"))


def test_a_content_encoding_is_decoded_once(web: HttpsServer) -> None:
    web.files["/a.csv"] = WebFile(gzip.compress(CSV), headers={"Content-Encoding": "gzip"})
    assert rows(plan_source(web.url("/a.csv"))).equals(TABLE)


def test_a_content_encoding_is_refused_for_bytes(web: HttpsServer) -> None:
    web.files["/a.bin"] = WebFile(gzip.compress(CSV), headers={"Content-Encoding": "gzip"})
    with pytest.raises(SourceFormatError, match=r"a\.bin has the Content-Encoding gzip, which is not decoded"):
        plan_source(web.url("/a.bin"), SourceOptions(format="bytes"))


def test_interruptions_are_retried_and_continued(web: HttpsServer) -> None:
    web.files["/a.csv"] = WebFile(CSV * 3, resets=deque([1, 100_000, 300_000, 500_000]), statuses=deque([503, 503]))
    content = b"".join(_pieces(plan_source(web.url("/a.csv"), SourceOptions(format="bytes")).files[0]))
    assert content == CSV * 3


def test_a_file_that_is_replaced_while_it_is_read_is_refused(web: HttpsServer) -> None:
    web.files["/a.csv"] = WebFile(CSV)
    plan = plan_source(web.url("/a.csv"))
    web.files["/a.csv"] = WebFile(CSV, etag='"v2"')
    with pytest.raises(SourceChangedError):
        rows(plan)


def test_a_host_that_is_not_listed_gets_no_connection(web: HttpsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MILLRACE_SOURCES__HOSTS")
    with pytest.raises(UsageError, match="is not in MILLRACE_SOURCES__HOSTS"):
        plan_source(web.url("/a.csv"))
    assert web.connections == 0


def _pieces(file: SourceFile) -> Iterator[bytes]:
    with closing(open_decompressed(file)) as stream:
        while piece := stream.read(1 << 20):
            yield piece


@pytest.mark.parametrize("ending", PACKERS)
def test_a_small_file_that_becomes_a_huge_one_is_refused(web: HttpsServer, ending: str) -> None:
    web.files["/bomb"] = WebFile(PACKERS[ending](bytes(110_000_000)))
    bomb = _file(web.url("/bomb"))
    with pytest.raises(SourceTooLargeError, match="bomb decompresses to more than 200 times its size"):
        sum(map(len, _pieces(bomb)))


def test_a_file_of_an_ordinary_ratio_is_read(web: HttpsServer) -> None:
    web.files["/packed"] = WebFile(PACKERS["zst"](os.urandom(1_000_000) * 105))
    assert sum(map(len, _pieces(_file(web.url("/packed"))))) == 105_000_000


def _file(uri: str) -> Any:
    return plan_source(uri, SourceOptions(format="bytes")).files[0]
