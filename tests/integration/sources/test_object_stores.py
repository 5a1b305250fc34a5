"""S3 and Google Cloud Storage as sources, read through real servers, with faults and changes in the middle."""

from __future__ import annotations

import gzip
import os
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from millrace.errors import SourceChangedError, SourceUnreadableError, UsageError
from millrace.sources import SourceChecksum, SourceOptions, SourcePlan, open_source, open_split, plan_source
from millrace.sources.io.files import list_files
from tests.remote_servers import (
    Fault,
    GoogleServer,
    S3Server,
    call_after,
    reset_after,
    send_whole,
    slow,
    status_503,
    too_long,
)

Bucket = S3Server | GoogleServer

ROWS = 60_000
CSV = b"a,b\n" + b"".join(b"%d,%d\n" % (number, number * 7919) for number in range(ROWS))


def plan_of(uri: str | list[str], **given: Any) -> SourcePlan:
    return plan_source(uri, SourceOptions(**{"connection": "lake", **given}))


def read(plan: SourcePlan) -> tuple[pa.Table, SourceChecksum | None]:
    with open_source(plan) as reader:
        return pa.Table.from_batches(list(reader), plan.schema), reader.content


@pytest.mark.parametrize("name", ["a.csv", "d/a b.csv", "d/ü#%20+&.csv", "a.csv.gz", "a.parquet"])
def test_an_object_is_read_like_the_same_local_file(bucket: Bucket, tmp_path: Path, name: str) -> None:
    path = tmp_path / name.replace("/", "_")
    if name.endswith(".parquet"):
        table = pa.table({"a": range(ROWS), "b": [n * 1.37 for n in range(ROWS)], "c": [str(n) for n in range(ROWS)]})
        pq.write_table(table, path, row_group_size=10_000)
    else:
        path.write_bytes(gzip.compress(CSV) if name.endswith(".gz") else CSV)
    uri = bucket.put(name, path.read_bytes())
    assert read(plan_of(uri)) == read(plan_source(str(path)))


def test_splits_are_read_alone_from_a_plan_as_json(bucket: Bucket) -> None:
    plan = SourcePlan.from_json(plan_of(bucket.put("a.csv", CSV), split_bytes=100_000).to_json())
    assert len(plan.splits) > 5
    rows = []
    for split in plan.splits:
        with open_split(plan, split) as reader:
            rows += [batch.num_rows for batch in reader]
    assert sum(rows) == ROWS


def test_folders_patterns_and_lists_are_read(bucket: Bucket) -> None:
    for name in ("d/a.csv", "d/x/b.csv", "d/_SUCCESS", "d/.h/c.csv", "e.csv"):
        bucket.put(name, b"a,b\n1,2\n")
    scheme = "s3" if isinstance(bucket, S3Server) else "gs"
    for uri, rows in (("d", 2), ("d/", 2), ("d/*.csv", 1), ("d/**", 2), ("*/*.csv", 1), ("", 3)):
        assert read(plan_of(f"{scheme}://lake/{uri}"))[0].num_rows == rows
    assert read(plan_of([f"{scheme}://lake/e.csv", f"{scheme}://lake/d"]))[0].num_rows == 3


def test_a_list_of_ten_thousand_objects_takes_few_requests(s3: S3Server) -> None:
    s3.put_many("many/", 10_000)
    began = time.monotonic()
    assert len(list_files("s3://lake/many/", keep_all=False, connection="lake").files) == 10_000
    print(f"10,000 objects were listed in {time.monotonic() - began:.1f} s")
    assert len(s3.proxy.requests) == 10


def test_a_wrong_key_is_refused_at_once(s3: S3Server) -> None:
    uri = s3.put("a.csv", CSV)
    for address in (uri, "s3://lake/", "s3://lake/*.csv"):
        s3.proxy.requests.clear()
        with pytest.raises(SourceUnreadableError, match=r"access is refused \(403\): check connection wrong"):
            plan_of(address, connection="wrong")
        assert len(s3.proxy.requests) <= 2


def test_a_bucket_that_is_not_listed_is_refused_without_a_request(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = s3.put("a.csv", CSV)
    monkeypatch.setenv("MILLRACE_SOURCES__BUCKETS", "s3://other")
    with pytest.raises(UsageError, match="s3://lake is not in MILLRACE_SOURCES__BUCKETS"):
        plan_of(uri)
    assert s3.proxy.requests == []


def test_an_endpoint_that_is_not_listed_is_refused_without_a_request(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = bucket.put("a.csv", CSV)
    monkeypatch.delenv("MILLRACE_SOURCES__HOSTS")
    with pytest.raises(UsageError, match="MILLRACE_SOURCES__HOSTS"):
        plan_of(uri)
    assert bucket.proxy.requests == []


FAULTS: dict[str, list[Fault]] = {
    "resets at ten places": [reset_after(place * 1009) for place in range(10)],
    "three 503": [status_503] * 3,
    "a wrong length": [too_long],
    "all of them": [status_503, reset_after(0), too_long, reset_after(100_000), status_503, reset_after(7)],
}


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("faults", FAULTS)
def test_a_read_goes_on_at_the_byte_reached(bucket: Bucket, faults: str, place: int) -> None:
    # Behind its beginning, which planning reads, the object has three ranges. A wrong length can end one of the first
    # two, and then the next faults need another range.
    plan = plan_of(
        bucket.put("a.csv", CSV * 5), infer_bytes=1000, header=False, column_types={"f0": "string", "f1": "string"}
    )
    bucket.proxy.requests.clear()
    expected = read(plan)
    ranges = bucket.proxy.count("GET")
    assert ranges == 3
    bucket.proxy.requests.clear()
    bucket.proxy.faults[:] = [send_whole] * place + FAULTS[faults]
    assert read(plan) == expected
    assert bucket.proxy.faults == []
    # Each fault but a wrong length leaves bytes of its range missing, so it costs one more request.
    assert bucket.proxy.count("GET") == ranges + sum(fault is not too_long for fault in FAULTS[faults])


def test_a_slow_object_is_read(s3: S3Server) -> None:
    plan = plan_of(s3.put("a.csv", b"a,b\n" + b"1,2\n" * 1500), infer_bytes=100)
    s3.proxy.faults[:] = [slow(1000)] * 3
    began = time.monotonic()
    other = plan_of(s3.put("b.csv", b"a,b\n" + b"1,2\n" * 1000))
    assert read(other)[0].num_rows == 1000
    assert time.monotonic() - began > 3
    assert read(plan)[0].num_rows == 1500


@pytest.mark.parametrize("count", [0, 1000, 400_000])
def test_an_object_that_is_overwritten_in_the_middle_is_never_a_mixture(bucket: Bucket, count: int) -> None:
    data = CSV * 3
    uri = bucket.put("a.csv", data)
    plan = plan_of(uri, infer_bytes=1000, header=False, column_types={"f0": "string", "f1": "string"})
    other = data.replace(b"1", b"2")
    bucket.proxy.faults[:] = [call_after(count, lambda: bucket.put("a.csv", other))]
    with pytest.raises(SourceChangedError, match=r"a\.csv changed after the load was planned"):
        read(plan)
    assert bucket.proxy.faults == []


def test_secrets_are_in_no_request_line_plan_or_message(s3: S3Server, caplog: pytest.LogCaptureFixture) -> None:
    plan = plan_of(s3.put("a.csv", CSV))
    read(plan)
    with pytest.raises(SourceUnreadableError) as raised:
        plan_of("s3://lake/a.csv", connection="wrong")
    texts = [str(plan.to_json()), repr(plan), str(raised.value), repr(raised.value.context), caplog.text]
    texts += [path for _, path, _ in s3.proxy.requests]
    assert not any(s3.secret in text or s3.key in text for text in texts)


@pytest.mark.full
def test_a_real_bucket_is_read_and_listed() -> None:
    uri = os.environ.get("MILLRACE_TEST_S3_URI")
    if not uri:
        pytest.skip("MILLRACE_TEST_S3_URI names no bucket")
    plan = plan_source(uri)
    table, content = read(plan)
    assert content is not None
    assert content.size_bytes == plan.total_bytes
    assert table.num_rows > 0
