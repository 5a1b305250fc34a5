"""Remote files as sources: all formats, changes, plans in other processes, and bodies without ranges."""

from __future__ import annotations

import gzip
import io
import json
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from millrace.errors import SourceChangedError, SourceFormatError, SourceNotFoundError, UsageError
from millrace.sources import SourceOptions, SourcePlan, open_source, open_split, plan_source
from tests.unit.sources.io.remote.conftest import Lake, WebServer

Read = Callable[..., Any]

CSV = b"a,b\n" + b"".join(b"%d,%d\n" % (number, number * 7) for number in range(50_000))
URL = "https://data.example/files/day.csv?page=2"
PATH = "/files/day.csv?page=2"


def parquet(rows: int = 50_000) -> bytes:
    stream = io.BytesIO()
    pq.write_table(pa.table({"a": range(rows), "b": [str(n) for n in range(rows)]}), stream, row_group_size=rows // 4)
    return stream.getvalue()


def arrow(rows: int = 50_000) -> bytes:
    stream = io.BytesIO()
    table = pa.table({"a": range(rows), "b": [str(n) for n in range(rows)]})
    with pa.ipc.new_file(stream, table.schema) as writer:
        writer.write_table(table, max_chunksize=10_000)
    return stream.getvalue()


JSONL = b"".join(json.dumps({"a": n, "b": str(n)}).encode() + b"\n" for n in range(20_000))


CONTENTS = {
    "a.csv": CSV,
    "a.csv.gz": gzip.compress(CSV),
    "a.jsonl": JSONL,
    "a.parquet": parquet(),
    "a.arrow": arrow(),
    "a.bin": bytes(range(256)) * 4000,
}


@pytest.mark.parametrize("name", CONTENTS)
def test_a_remote_file_is_read_like_a_local_one(
    lake: Lake, write: Callable[[str, bytes], Any], read: Read, read_parts: Read, name: str
) -> None:
    path, uri = write(name, CONTENTS[name]), lake.put(name, CONTENTS[name])
    local = plan_source(str(path), SourceOptions(split_bytes=100_000))
    remote = plan_source(uri, SourceOptions(split_bytes=100_000))
    assert (remote.format, len(remote.splits), remote.total_rows) == (local.format, len(local.splits), local.total_rows)
    assert read(uri).equals(read(path))
    assert read_parts(uri, split_bytes=100_000).equals(read(path))
    with open_source(local) as one, open_source(remote) as other:
        assert len(list(one)) == len(list(other))
        assert one.content == other.content is not None


def test_gzip_as_content_encoding_is_decoded_once(lake: Lake, read: Read) -> None:
    uri = lake.put("a.csv", gzip.compress(CSV), **{"Content-Encoding": "gzip"})
    assert read(uri).num_rows == 50_000


@pytest.mark.parametrize("size", [10, 400_000])
def test_an_object_that_is_overwritten_after_the_plan_is_refused(lake: Lake, size: int) -> None:
    uri = lake.put("a.csv", CSV[:size])
    plan = plan_source(uri)
    lake.put("a.csv", CSV[:size].replace(b"1", b"2"))
    with pytest.raises(SourceChangedError), open_source(plan) as reader:
        list(reader)


def test_an_object_that_is_removed_after_the_plan_is_refused(lake: Lake) -> None:
    plan = plan_source(lake.put("a.csv", CSV))
    lake.store.delete("a.csv")  # type: ignore[attr-defined]
    with pytest.raises(SourceNotFoundError, match=r"s3://lake/a\.csv does not exist"), open_source(plan) as reader:
        list(reader)


def test_a_plan_of_remote_files_survives_json(lake: Lake) -> None:
    lake.put("d/a.csv", CSV)
    plan = plan_source("s3://lake/d", SourceOptions(connection="lake"))
    again = SourcePlan.from_json(json.loads(json.dumps(plan.to_json())))
    assert again == plan
    assert again.files[0].connection == "lake"


def read_all(plan: SourcePlan) -> bytes:
    with open_source(plan) as reader:
        return b"".join(str(batch.to_pylist()).encode() for batch in reader)


@pytest.mark.parametrize("names_size", [True, False])
@pytest.mark.parametrize("names_change", [True, False])
def test_a_body_without_ranges_is_one_split_that_is_requested_once(
    web: WebServer, names_size: bool, names_change: bool
) -> None:
    web.contents[PATH] = CSV
    web.names_size, web.names_change = names_size, names_change
    plan = plan_source(URL, SourceOptions(split_bytes=1000, infer_bytes=10_000))
    assert [(split.label, split.start, split.stop) for split in plan.splits] == [("day.csv", 0, -1)]
    with open_split(plan, plan.splits[0]) as reader:
        assert sum(batch.num_rows for batch in reader) == 50_000
        assert reader.content is not None
        assert reader.content.size_bytes == len(CSV)
        assert reader.bytes_read == len(CSV)
    assert web.requests == [PATH]


def test_a_second_load_requests_a_body_again(web: WebServer) -> None:
    web.contents[PATH] = CSV
    plan = plan_source(URL)
    assert read_all(plan) == read_all(plan)
    assert web.requests == [PATH, PATH]


def test_another_process_loads_a_body_without_its_plan(web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    web.contents[PATH] = CSV
    plan = SourcePlan.from_json(plan_source(URL).to_json())
    monkeypatch.setattr("millrace.sources.io.inputs._bodies", OrderedDict())
    with open_split(plan, plan.splits[0]) as reader:
        assert sum(batch.num_rows for batch in reader) == 50_000
    assert web.requests == [PATH, PATH]


def test_a_body_that_changed_since_the_plan_is_refused(web: WebServer) -> None:
    web.contents[PATH] = CSV
    plan = plan_source(URL)
    read_all(plan)
    web.contents[PATH] = CSV.replace(b"1", b"2")
    with pytest.raises(SourceChangedError):
        read_all(plan)


def test_a_new_plan_reads_a_body_that_changed(web: WebServer) -> None:
    web.contents[PATH] = CSV
    plan_source(URL)
    web.contents[PATH] = b"a,b\n1,2\n"
    assert read_all(plan_source(URL)) == b"[{'a': 1, 'b': 2}]"


def test_a_new_plan_reads_a_body_again_that_names_no_facts(web: WebServer) -> None:
    web.names_size = web.names_change = False
    web.contents[PATH] = b"a,b\n3,4\n"
    plan_source(URL)
    web.contents[PATH] = b"a,b\n1,2\n"
    assert read_all(plan_source(URL)) == b"[{'a': 1, 'b': 2}]"


def test_a_compressed_body_without_ranges_is_read(web: WebServer) -> None:
    web.contents["/a.csv.gz"] = gzip.compress(CSV)
    with open_source(plan_source("https://data.example/a.csv.gz")) as reader:
        assert sum(batch.num_rows for batch in reader) == 50_000


def test_bytes_without_ranges_are_one_split(web: WebServer) -> None:
    web.contents["/a.bin"] = bytes(5_000_000)
    plan = plan_source("https://data.example/a.bin", SourceOptions(format="bytes", split_bytes=1_000_000))
    assert len(plan.splits) == 1
    with open_source(plan) as reader:
        assert sum(batch.num_rows for batch in reader) == 5


@pytest.mark.parametrize(("name", "label"), [("a.parquet", "Parquet"), ("a.arrow", "Arrow")])
def test_parquet_and_arrow_without_ranges_are_refused(web: WebServer, name: str, label: str) -> None:
    web.contents[f"/{name}"] = CONTENTS[name]
    with pytest.raises(SourceFormatError, match=rf"{name} cannot be read as {label} data: its server does not answer"):
        plan_source(f"https://data.example/{name}")


def test_a_folder_on_a_web_server_is_refused(web: WebServer) -> None:
    with pytest.raises(SourceNotFoundError):
        plan_source("https://data.example/folder/")


@pytest.mark.parametrize(
    "uri",
    [
        "s3://KEY:s3cr@lake/a.csv",
        "https://u:s3cr@data.example/a.csv",
        "https://data.example/a.csv?token=s3cr",
        "s3://lake/a.csv?X-Amz-Signature=s3cr",
        "ftp://u:s3cr@h/a.csv",
    ],
)
def test_an_address_with_credentials_is_refused_without_showing_them(lake: Lake, web: WebServer, uri: str) -> None:
    with pytest.raises(UsageError, match="has credentials in it") as raised:
        plan_source(uri)
    assert "s3cr" not in str(raised.value)
    assert "KEY" not in str(raised.value)


def test_a_local_path_ignores_the_connection(write: Callable[[str, bytes], Any]) -> None:
    path = write("a.csv", b"a\n1\n")
    assert plan_source(str(path), SourceOptions(connection="nothing")).files[0].connection == ""


def test_a_new_plan_reads_the_beginning_of_an_object_again(lake: Lake, counted: Callable[[str], list[Any]]) -> None:
    uri = lake.put("a.csv")
    read_all(plan_source(uri))
    requests = counted("get")
    plan_source(uri)
    assert len(requests) == 2  # the facts, and the beginning
