"""Files whose facts do not show a change, from a web server in this process, on a store in memory."""

from __future__ import annotations

import pytest

from millrace.api import Store
from millrace.errors import SourceChangedError
from millrace.load import LoadOptions
from tests.https_server import HttpsServer, WebFile
from tests.unit.sources.io.remote.conftest import authority, server
from tests.unit.sources.io.remote.test_web_sources import web

__all__ = ["authority", "server", "web"]

INCREMENTAL = LoadOptions(mode="incremental")
REPLACE_CHANGED = LoadOptions(skip_unchanged=True)


def rows(store: Store) -> list[int]:
    return sorted(store.dataset("d").to_table().column("n").to_pylist())


def plain(content: bytes, *, has_ranges: bool = True, has_length: bool = True) -> WebFile:
    """Return a file whose responses name neither a time nor an ETag."""
    return WebFile(content, etag=None, modified=None, has_ranges=has_ranges, has_length=has_length)


def test_a_file_without_a_time_and_an_etag_is_read_to_know_whether_it_changed(store: Store, web: HttpsServer) -> None:
    uri = web.url("/a.csv")
    web.files["/a.csv"] = plain(b"n\n1\n")
    store.load("d", uri, REPLACE_CHANGED)
    assert store.load("d", uri, REPLACE_CHANGED).skipped == "unchanged"
    assert store.load("d", uri, INCREMENTAL).skipped == "unchanged"
    web.files["/a.csv"] = plain(b"n\n2\n")
    with pytest.raises(SourceChangedError, match=r"has 4 bytes.* as before, and another CRC-32"):
        store.load("d", uri, INCREMENTAL)
    assert store.load("d", uri, REPLACE_CHANGED).skipped == ""
    assert rows(store) == [2]


@pytest.mark.parametrize("has_length", [False, True])
def test_a_replace_of_a_file_that_shows_no_change_and_has_no_ranges_makes_a_version(
    store: Store, web: HttpsServer, has_length: bool
) -> None:
    for number in (1, 2):
        web.files["/a.csv"] = plain(b"n\n%d\n" % number, has_ranges=False, has_length=has_length)
        assert store.load("d", web.url("/a.csv"), REPLACE_CHANGED).skipped == ""
        assert rows(store) == [number]
    assert store.load("d", web.url("/a.csv"), INCREMENTAL).skipped == "unchanged"
