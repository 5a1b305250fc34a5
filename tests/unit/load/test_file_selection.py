"""Files of web servers in declared loads: a change is noticed also where a server names neither ETag nor time."""

from __future__ import annotations

import pytest

from millrace.api import Store
from millrace.errors import SourceChangedError, SourceTooLargeError
from millrace.load import LoadOptions
from tests.unit.sources.io.remote.conftest import WebServer, opened, web

__all__ = ["opened", "web"]

URL = "https://data.example/day.csv"
PATH = "/day.csv"
REPLACE_CHANGED = LoadOptions(skip_unchanged=True)
INCREMENTAL = LoadOptions(mode="incremental")


@pytest.fixture(params=[True, False], ids=["size", "no size"])
def nameless(request: pytest.FixtureRequest, web: WebServer) -> WebServer:
    """Return a server that names neither an ETag nor a time, and the size of a file or not."""
    web.names_change, web.names_size = False, request.param
    web.contents[PATH] = b"n\n1\n2\n"
    return web


def rows(store: Store) -> list[int]:
    return sorted(store.dataset("d").to_table().column("n").to_pylist())


def test_a_file_without_etag_and_time_that_changed_is_loaded(store: Store, nameless: WebServer) -> None:
    store.load("d", URL, REPLACE_CHANGED)
    nameless.contents[PATH] = b"n\n3\n4\n"
    report = store.load("d", URL, REPLACE_CHANGED)
    assert (report.skipped, rows(store)) == ("", [3, 4])


def test_a_file_without_etag_and_time_is_unchanged_if_its_crc_is_equal(store: Store, nameless: WebServer) -> None:
    store.load("d", URL, REPLACE_CHANGED)
    nameless.requests.clear()
    assert store.load("d", URL, REPLACE_CHANGED).skipped == "unchanged"
    assert store.load("d", URL, INCREMENTAL).skipped == "unchanged"
    assert nameless.requests == [PATH, PATH]


def test_an_incremental_load_refuses_a_file_without_etag_and_time_that_changed(
    store: Store, nameless: WebServer
) -> None:
    store.load("d", URL, INCREMENTAL)
    nameless.contents[PATH] = b"n\n3\n4\n"
    with pytest.raises(SourceChangedError, match=r"changed after 1-[0-9a-f]{6} loaded it"):
        store.load("d", URL, INCREMENTAL)
    assert rows(store) == [1, 2]


def test_max_bytes_also_limits_a_file_of_unknown_size(store: Store, nameless: WebServer) -> None:
    nameless.contents[PATH] = b"n\n" + b"1\n" * 5_000_000
    with pytest.raises(SourceTooLargeError, match="and max_bytes is 5,000"):
        store.load("d", URL, LoadOptions(max_bytes=5_000))
    nameless.contents[PATH] = b"n\n1\n2\n"
    nameless.requests.clear()
    store.load("d", URL, LoadOptions(max_bytes=6))
    assert (rows(store), nameless.requests) == ([1, 2], [PATH])
