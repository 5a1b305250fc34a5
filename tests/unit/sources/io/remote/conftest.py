"""Fixtures of remote sources: a bucket in memory, a scripted web server, and a real one with a client of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import obstore
import pytest
from obstore.store import MemoryStore

from millrace.errors import SourceChangedError, SourceNotFoundError, UsageError
from millrace.settings import SourcesSettings
from millrace.sources.io.remote import access
from millrace.sources.io.remote.bodies import TransferLimits
from millrace.sources.io.remote.deadlines import with_deadlines
from millrace.sources.io.remote.https import HttpsFiles
from millrace.sources.io.remote.model import RemoteFile, RemoteFiles
from millrace.sources.io.remote.object_store import ObjectFiles
from millrace.sources.io.remote.stream import Heads
from millrace.sources.model import FileFacts
from tests.https_server import Authority, HttpsServer

QUICK = TransferLimits(connect_s=2.0, read_s=2.0, grace_s=0.5, bytes_per_s_min=10_000, unknown_bytes_max=2_000_000)

OpenFiles = Callable[..., HttpsFiles]


@pytest.fixture(scope="session")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def server(authority: Authority) -> Iterator[HttpsServer]:
    with authority.server() as running:
        yield running


@pytest.fixture
def client(authority: Authority) -> Iterator[OpenFiles]:
    """Return a function that makes a client of an address; ``hosts`` are the entries of the setting."""
    clients = []

    def make(address: str, *hosts: str, **arguments: Any) -> HttpsFiles:
        def new_transport() -> httpx.BaseTransport:
            return httpx.HTTPTransport(verify=with_deadlines(authority.client_context()), trust_env=False)

        settings = SourcesSettings(hosts=hosts)
        clients.append(HttpsFiles(address, settings, **{"limits": QUICK, "new_transport": new_transport, **arguments}))
        return clients[-1]

    yield make
    for made in clients:
        made.close()


@pytest.fixture
def files(server: HttpsServer, client: OpenFiles) -> HttpsFiles:
    """Return a client of the server by its IP address."""
    return client(server.url(), server.entry)


@dataclass
class WebServer:
    """Files by path on a server without ranges; ``names_size`` and ``names_change`` are what its answers say."""

    contents: dict[str, bytes] = field(default_factory=dict)
    names_size: bool = True
    names_change: bool = True
    requests: list[str] = field(default_factory=list)

    def list(self, path: str) -> Iterator[RemoteFile]:
        raise UsageError("a web server has no list of its files")

    def facts(self, path: str) -> RemoteFile:
        if path not in self.contents:
            raise SourceNotFoundError(f"{path} does not exist")
        data = self.contents[path]
        change_id = f'"{hash(data)}"' if self.names_change else ""
        return RemoteFile(path, FileFacts(len(data) if self.names_size else -1, 0, change_id), has_ranges=False)

    def read(self, file: RemoteFile, start: int, stop: int) -> Iterator[bytes]:
        assert start == 0
        self.requests.append(file.path)
        if self.facts(file.path).facts != file.facts:
            raise SourceChangedError("changed")
        data = self.contents[file.path]
        yield from (data[at : at + 1000] for at in range(0, len(data), 1000))


@dataclass
class Lake:
    """The bucket ``lake`` in memory; ``put`` stores an object and returns its address."""

    store: MemoryStore
    files: ObjectFiles

    def put(self, name: str, data: bytes = b"a,b\n1,2\n3,4\n", **attributes: str) -> str:
        obstore.put(self.store, name, data, attributes=attributes or None)
        return f"s3://lake/{name}"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> dict[str, RemoteFiles]:
    """Return the access to each bucket or host by name, which the test fills."""
    by_name: dict[str, RemoteFiles] = {}

    def open_named(scheme: str, container: str, connection: str, process: int) -> RemoteFiles:
        return by_name[container]

    open_named.cache_clear = lambda: None  # type: ignore[attr-defined]
    monkeypatch.setattr(access, "_opened", open_named)
    monkeypatch.setattr(access, "_heads", Heads())
    return by_name


@pytest.fixture
def lake(opened: dict[str, RemoteFiles]) -> Lake:
    store = MemoryStore()
    files = ObjectFiles(lambda: store, "s3://lake", "check the connection")
    opened["lake"] = files
    return Lake(store, files)


@pytest.fixture
def web(opened: dict[str, RemoteFiles]) -> WebServer:
    opened["data.example"] = server = WebServer()
    return server


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[Any]]:
    """Return ``counted(name)``, which records the calls of a function of obstore."""

    def count(name: str) -> list[Any]:
        calls: list[Any] = []
        original = getattr(obstore, name)

        def call(*arguments: Any, **given: Any) -> Any:
            calls.append(arguments[1:])
            return original(*arguments, **given)

        monkeypatch.setattr(obstore, name, call)
        return calls

    return count
