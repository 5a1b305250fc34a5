"""Objects read through obstore, from its store in memory, and the errors that its texts mean."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import obstore
import pytest
from obstore.exceptions import GenericError, PermissionDeniedError, UnauthenticatedError
from obstore.store import GCSStore, LocalStore, MemoryStore

from millrace.errors import SourceChangedError, SourceFormatError, SourceNotFoundError, SourceUnreadableError
from millrace.sources.io.remote.model import PIECE_BYTES_MAX, RemoteFile, TransferInterrupted
from millrace.sources.io.remote.object_store import ObjectFiles


def files_of(store: Any) -> ObjectFiles:
    return ObjectFiles(lambda: store, "s3://lake", "check connection c")


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def test_all_objects_below_a_prefix_are_listed(store: MemoryStore) -> None:
    for name in ("a/b.csv", "a/c/d.csv", "ab.csv", "e.csv"):
        obstore.put(store, name, b"12345")
    listed = list(files_of(store).list("a/"))
    assert sorted(file.path for file in listed) == ["a/b.csv", "a/c/d.csv"]
    assert {file.facts.size_bytes for file in listed} == {5}
    assert len(list(files_of(store).list(""))) == 4


def test_facts_of_a_list_and_of_an_object_are_equal(store: MemoryStore) -> None:
    obstore.put(store, "a/b.csv", b"12345")
    (listed,) = files_of(store).list("a/")
    assert files_of(store).facts("a/b.csv") == listed
    assert listed.facts.modified_ns % 1_000_000_000 == 0


def test_a_range_is_read_in_bounded_pieces(tmp_path: Path) -> None:
    data = bytes(range(250)) * 20_000
    (tmp_path / "big").write_bytes(data)
    files = files_of(LocalStore(tmp_path))
    pieces = list(files.read(files.facts("big"), 7, len(data) - 5))
    assert b"".join(pieces) == data[7:-5]
    assert max(map(len, pieces)) <= PIECE_BYTES_MAX


def test_an_object_that_was_overwritten_is_refused(store: MemoryStore) -> None:
    obstore.put(store, "a", b"12345")
    file = files_of(store).facts("a")
    obstore.put(store, "a", b"123456")
    with pytest.raises(SourceChangedError, match="s3://lake/a changed after the load was planned"):
        list(files_of(store).read(file, 0, 5))


def test_a_missing_object_is_not_found(store: MemoryStore) -> None:
    with pytest.raises(SourceNotFoundError, match="s3://lake/nothing does not exist"):
        files_of(store).facts("nothing")


@pytest.mark.parametrize("path", ["a//b", "a/../b", "./a"])
def test_a_path_with_an_odd_part_is_refused(store: MemoryStore, path: str) -> None:
    with pytest.raises(SourceUnreadableError, match=r"a part of an object's path is empty, \. or \.\."):
        files_of(store).facts(path)


def test_content_encodings_are_known_or_refused(store: MemoryStore) -> None:
    obstore.put(store, "z.csv", b"1", attributes={"Content-Encoding": "gzip"})
    obstore.put(store, "b.csv", b"1", attributes={"Content-Encoding": "br"})
    assert files_of(store).facts("z.csv").encoding == "gzip"
    with pytest.raises(SourceFormatError, match=r"s3://lake/b\.csv has the Content-Encoding 'br'"):
        files_of(store).facts("b.csv")
    (listed,) = [file for file in files_of(store).list("") if file.path == "b.csv"]
    with pytest.raises(SourceFormatError, match="Content-Encoding"):
        list(files_of(store).read(listed, 0, 1))


def generic(text: str) -> GenericError:
    return GenericError(f"Generic S3 error: Error performing GET http://h/SECRET in 1ms - {text}")


def status(code: int) -> GenericError:
    return generic(f"Server returned non-2xx status code: {code} Some: <xml>SECRET</xml>")


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (PermissionDeniedError("SECRET"), SourceUnreadableError, r"access is refused \(403\): check connection c"),
        (UnauthenticatedError("SECRET"), SourceUnreadableError, "access is refused"),
        (status(401), SourceUnreadableError, r"access is refused \(401\)"),
        (status(403), SourceUnreadableError, r"access is refused \(403\)"),
        (status(404), SourceNotFoundError, "s3://lake/a does not exist"),
        (status(400), SourceUnreadableError, "status 400"),
        (status(301), SourceUnreadableError, "is in another region"),
        (generic("Received redirect without LOCATION, this"), SourceUnreadableError, "is in another region"),
        (generic("HTTP error: invalid peer certificate: Expired"), SourceUnreadableError, "the certificate of its"),
        (status(503), TransferInterrupted, "status 503"),
        (status(500), TransferInterrupted, "status 500"),
        (status(429), TransferInterrupted, "status 429"),
        (generic("HTTP error: operation timed out"), TransferInterrupted, "timeout"),
        (generic("HTTP error: connection reset by peer"), TransferInterrupted, "reset"),
        (generic("HTTP error: error sending request"), TransferInterrupted, "the connection failed"),
    ],
)
def test_errors_are_told_apart_and_do_not_show_the_text_of_the_answer(
    monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type[Exception], message: str
) -> None:
    def fail(*_: object, **__: object) -> Iterator[Any]:
        raise error

    monkeypatch.setattr(obstore, "get", fail)
    monkeypatch.setattr(obstore, "list", fail)
    for request in (
        lambda: files_of(None).facts("a"),
        lambda: list(files_of(None).list("a")),
        lambda: list(files_of(None).read(RemoteFile("a", files_facts()), 0, 5)),
    ):
        with pytest.raises(kind, match=message) as raised:
            request()
        assert "SECRET" not in str(raised.value)
        assert raised.value.__cause__ is None


def files_facts() -> Any:
    from millrace.sources.model import FileFacts

    return FileFacts(5, 1, '"tag"')


def test_a_key_that_is_not_valid_is_not_retried() -> None:
    key = json.dumps({"private_key": "canary", "private_key_id": "1", "client_email": "a"})
    files = ObjectFiles(lambda: GCSStore("lake", service_account_key=key), "gs://lake", "check connection lake")
    with pytest.raises(SourceUnreadableError, match="its endpoint or its credentials are not valid: check connection"):
        files.facts("a.csv")
