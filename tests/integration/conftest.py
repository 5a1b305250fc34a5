"""Fixtures for tests against the real services: a keyspace of their own, a store on it, object stores, and a Redis."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from local_stack.stack import Stack
from millrace.api import Store
from millrace.settings import Settings, load_settings
from millrace.store.cluster.session import CassandraSession
from tests.ports import free_port
from tests.redis_server import RedisServer
from tests.remote_servers import GoogleServer, S3Server, google_server, s3_server


@pytest.fixture(scope="session")
def settings(stack: Stack) -> Iterator[Settings]:
    """Return the settings in force with a new keyspace and its tables, which is dropped at the end."""
    made = load_settings(cassandra={"keyspace": f"test_{uuid4().hex[:12]}"})
    Store.init(made)
    yield made
    cassandra = CassandraSession.connect(made.cassandra)
    try:
        cassandra.session.execute(f"DROP KEYSPACE IF EXISTS {made.cassandra.keyspace}", timeout=120)
    finally:
        cassandra.close()


@pytest.fixture(scope="session")
def store(settings: Settings) -> Iterator[Store]:
    """Connect a store on that keyspace."""
    with Store.connect(settings) as connected:
        yield connected


@pytest.fixture(scope="session")
def running_s3() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


@pytest.fixture(scope="session")
def running_google() -> Iterator[GoogleServer]:
    with google_server() as server:
        yield server


def use(server: S3Server | GoogleServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty the bucket, and define the connections ``lake`` and ``wrong`` to it."""
    server.clear()
    monkeypatch.setenv("MILLRACE_SOURCES__CONNECTIONS__LAKE", server.connection())
    monkeypatch.setenv("MILLRACE_SOURCES__CONNECTIONS__WRONG", server.connection(secret="wrong"))
    monkeypatch.setenv("MILLRACE_SOURCES__HOSTS", f"127.0.0.1:{server.proxy.port}=127.0.0.0/8")


@pytest.fixture
def s3(running_s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    use(running_s3, monkeypatch)
    return running_s3


@pytest.fixture
def google(running_google: GoogleServer, monkeypatch: pytest.MonkeyPatch) -> GoogleServer:
    use(running_google, monkeypatch)
    return running_google


@pytest.fixture(params=["s3", "google"])
def bucket(request: pytest.FixtureRequest) -> S3Server | GoogleServer:
    """Return each of the two object stores in turn."""
    server: S3Server | GoogleServer = request.getfixturevalue(request.param)
    return server


@pytest.fixture
def redis_servers(tmp_path: Path) -> Iterator[Callable[..., RedisServer]]:
    """Return a function that starts a ``RedisServer`` with these options of redis-server."""
    started: list[RedisServer] = []

    def start(*options: str) -> RedisServer:
        server = RedisServer(tmp_path, free_port())
        started.append(server)
        server.start(*options)
        return server

    yield start
    for server in started:
        server.kill()


@pytest.fixture
def redis_server(redis_servers: Callable[..., RedisServer]) -> RedisServer:
    """Start a Redis of 200 MB."""
    return redis_servers("--maxmemory", "200mb")
