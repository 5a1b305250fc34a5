"""Fixtures of remote sources: a local web server with a certificate, and a client of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from millrace.settings import SourcesSettings
from millrace.sources.io.remote.bodies import TransferLimits
from millrace.sources.io.remote.https import HttpsFiles
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
            return httpx.HTTPTransport(verify=authority.client_context(), trust_env=False)

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
