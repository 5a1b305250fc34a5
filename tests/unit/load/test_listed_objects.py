"""That nothing is new among 10,000 loaded objects of S3 is known by their list, in few requests and seconds."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from millrace.api import Store
from millrace.load import LoadOptions
from millrace.sources import SourceOptions
from millrace.sources.io.remote.access import forget_connections
from tests.listed_bucket import BUCKET, ListedBucket, listed_bucket
from tests.unit.load.test_loaded_files import loads

FILES = 10_000
FOLDER = f"s3://{BUCKET}/days"
LAKE = SourceOptions(connection="lake")
INCREMENTAL = LoadOptions(mode="incremental", source=LAKE)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[ListedBucket]:
    """Return a bucket with 10,000 objects."""
    with listed_bucket() as running:
        for number in range(FILES):
            running.put(f"days/{number // 365:04}-{number % 365:03}.csv", b"n\n0\n")
        monkeypatch.setenv("MILLRACE_SOURCES__CONNECTIONS__LAKE", running.connection())
        monkeypatch.setenv("MILLRACE_SOURCES__HOSTS", f"127.0.0.1:{running.port}=127.0.0.0/8")
        forget_connections()
        yield running
        forget_connections()


def test_that_nothing_is_new_in_10000_objects_is_planned_within_5_s_and_20_requests_without_opening_one(
    store: Store, bucket: ListedBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads(store, FOLDER, f"{FOLDER}/0000-000.csv", INCREMENTAL, monkeypatch)
    for options in (INCREMENTAL, LoadOptions(skip_unchanged=True, source=LAKE)):
        store.catalogue.pages.file_list.cache_clear()
        bucket.requests.clear()
        began = time.monotonic()
        plan = store.plan("d", FOLDER, options)
        seconds = time.monotonic() - began
        assert plan.unchanged
        assert seconds < 5
        lists = [path for method, path in bucket.requests if method == "GET" and "list-type=2" in path]
        assert len(lists) == FILES // 1000
        assert len(bucket.requests) <= 20
        assert not [path for method, path in bucket.requests if method == "GET" and path not in lists]
        print(f"{FILES:,} objects: {seconds:.1f} s, {len(bucket.requests)} requests")


def test_of_10000_objects_the_3_new_ones_are_loaded(
    store: Store, bucket: ListedBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads(store, FOLDER, f"{FOLDER}/0000-000.csv", INCREMENTAL, monkeypatch)
    for name in ("0000-000a.csv", "0005-000a.csv", "9999-000.csv"):
        bucket.put(f"days/{name}", b"n\n1\n")
    bucket.requests.clear()
    assert store.load("d", FOLDER, INCREMENTAL).rows == 3
    opened = {
        path.rpartition("/")[2] for method, path in bucket.requests if method == "GET" and "list-type" not in path
    }
    assert opened == {"0000-000a.csv", "0005-000a.csv", "9999-000.csv"}
