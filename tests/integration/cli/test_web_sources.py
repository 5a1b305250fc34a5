"""Loads from a web server by command line, Python and form: equal content, faults of the server, refusals."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from millrace.api import Store
from millrace.settings import load_settings
from millrace.sources.io.remote import https
from millrace.sources.io.remote.access import forget_connections
from millrace.sources.io.remote.bodies import TransferLimits
from millrace.sources.io.remote.retries import RetryPolicy
from millrace.sources.io.remote.stream import RemoteStream
from tests.https_server import YESTERDAY, Authority, HttpsServer, WebFile
from tests.integration.cli.conftest import Millrace

CSV = b"n,name\n" + b"".join(b"%d,%d\n" % (number, random.Random(number).getrandbits(60)) for number in range(60_000))
PLACES = deque([0, 1, 1000, 50_000, 200_000, 262_144, 400_000, 600_000, 900_000, len(CSV) - 1])
TOKEN = '{"conn_type": "http", "password": "canary"}'


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def web(authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpsServer]:
    with authority.server() as server:
        allow(monkeypatch, authority, server, tmp_path)
        server.files["/flights.csv"] = WebFile(CSV)
        yield server
        forget_connections()


def allow(monkeypatch: pytest.MonkeyPatch, authority: Authority, server: HttpsServer, folder: Path) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.write(folder / "ca.pem")))
    monkeypatch.setenv("MILLRACE_SOURCES__HOSTS", server.entry)
    forget_connections()


def loaded_bytes(millrace: Millrace, name: str, folder: Path) -> bytes:
    done = millrace("read", name, "--output", str(folder / name))
    assert done.code == 0, done.err
    return (folder / name).read_bytes()


def has_no_version(millrace: Millrace, name: str) -> bool:
    return millrace("versions", name, "--json").code != 0


def test_the_same_content_is_loaded_from_a_disk_and_from_a_web_server(
    web: HttpsServer, millrace: Millrace, store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from millrace.airflow.form import load_form
    from millrace.airflow.request import load_options

    (tmp_path / "flights.csv").write_bytes(CSV)
    url = web.url("/flights.csv")
    assert millrace("load", "web_disk", str(tmp_path / "flights.csv")).code == 0
    assert millrace("load", "web_cli", url).code == 0
    store.load("web_python", url)
    fields = {name: field.value for name, field in load_form().items()}
    source, options = load_options({**fields, "dataset": "web_form", "source": url}, load_settings())
    store.load("web_form", source, options=options)
    tables = [store.dataset(name).to_table() for name in ("web_disk", "web_cli", "web_python", "web_form")]
    assert tables[0].num_rows == 60_000
    assert all(table.equals(tables[0]) for table in tables)
    assert millrace("load", "web_bytes", url, "--format", "bytes").code == 0
    assert loaded_bytes(millrace, "web_bytes", tmp_path) == CSV


def test_a_load_with_resets_and_three_503_has_each_byte_once(
    web: HttpsServer, millrace: Millrace, tmp_path: Path
) -> None:
    web.files["/flights.csv"] = WebFile(CSV, resets=PLACES.copy(), statuses=deque([503, 503, 503]))
    done = millrace("load", "web_faults", web.url("/flights.csv"), "--format", "bytes")
    assert done.code == 0, done.err
    assert not web.files["/flights.csv"].resets
    assert loaded_bytes(millrace, "web_faults", tmp_path) == CSV


def test_a_load_with_wrong_lengths_has_each_byte_once(web: HttpsServer, millrace: Millrace, tmp_path: Path) -> None:
    web.files["/flights.csv"] = WebFile(CSV, length_errors=deque([-1000, 1, 1_000_000, -1]))
    done = millrace("load", "web_lengths", web.url("/flights.csv"), "--format", "bytes")
    assert done.code == 0, done.err
    assert not web.files["/flights.csv"].length_errors
    assert loaded_bytes(millrace, "web_lengths", tmp_path) == CSV


def test_a_length_that_is_always_too_large_makes_no_version(
    web: HttpsServer, millrace: Millrace, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = partial(RemoteStream, policy=RetryPolicy(first_delay_s=0.01))
    monkeypatch.setattr("millrace.sources.io.remote.access.RemoteStream", quick)
    web.files["/flights.csv"] = WebFile(CSV, has_ranges=False, headers={"Content-Length": str(len(CSV) + 1)})
    done = millrace("load", "web_length", web.url("/flights.csv"))
    assert (done.code, has_no_version(millrace, "web_length")) == (1, True)
    assert "cannot be read now: the connection was closed before the end of the response" in done.err


def test_a_small_file_is_loaded_at_1_kb_per_second(web: HttpsServer, millrace: Millrace) -> None:
    web.files["/slow.csv"] = WebFile(CSV[: CSV.index(b"\n", 2500) + 1], bytes_per_s=1000)
    began = time.monotonic()
    done = millrace("load", "web_slow", web.url("/slow.csv"))
    assert done.code == 0, done.err
    assert 2 < time.monotonic() - began < 20


def test_a_large_file_at_1_kb_per_second_is_given_up(
    web: HttpsServer, millrace: Millrace, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert TransferLimits().grace_s <= 60
    monkeypatch.setattr(https, "HttpsFiles", partial(https.HttpsFiles, limits=TransferLimits(grace_s=2)))
    web.files["/flights.csv"] = WebFile(CSV, bytes_per_s=1000)
    began = time.monotonic()
    done = millrace("load", "web_too_slow", web.url("/flights.csv"))
    assert (done.code, has_no_version(millrace, "web_too_slow")) == (1, True)
    assert "is too slow: it sends fewer than 10,000 bytes per second" in done.err
    assert time.monotonic() - began < 20


def test_a_file_that_is_overwritten_in_the_middle_makes_no_version(web: HttpsServer, millrace: Millrace) -> None:
    web.files["/flights.csv"] = WebFile(CSV, replacement=WebFile(CSV[::-1], etag='"v2"'))
    done = millrace("load", "web_changed", web.url("/flights.csv"))
    assert done.code == 1
    assert "changed after the load was planned" in done.err
    assert has_no_version(millrace, "web_changed")


def test_a_connection_gives_the_token_and_a_wrong_one_is_one_line(web: HttpsServer, millrace: Millrace) -> None:
    web.required = {"authorization": "Bearer canary"}
    url = web.url("/flights.csv")
    arguments = ("load", "web_token", url, "--connection", "api")
    refused = millrace(*arguments, MILLRACE_SOURCES__CONNECTIONS__API=TOKEN.replace("canary", "wrong"))
    assert (refused.code, has_no_version(millrace, "web_token")) == (1, True)
    assert (
        refused.err.strip()
        .splitlines()[-1]
        .endswith("requires credentials (status 401): name a connection with a valid login or token")
    )
    forget_connections()
    done = millrace(*arguments, MILLRACE_SOURCES__CONNECTIONS__API=TOKEN)
    assert done.code == 0, done.err
    assert "canary" not in done.out + done.err


@pytest.mark.parametrize(
    ("hosts", "not_after", "reason"),
    [((), YESTERDAY, "its certificate has expired"), (("other.example",), None, "its certificate is for another host")],
)
def test_a_wrong_certificate_is_named_and_makes_no_version(
    authority: Authority,
    millrace: Millrace,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    hosts: tuple[str, ...],
    not_after: object,
    reason: str,
) -> None:
    with authority.server(*hosts, not_after=not_after) as server:  # type: ignore[arg-type]
        allow(monkeypatch, authority, server, tmp_path)
        done = millrace("load", "web_certificate", server.url("/flights.csv"))
        assert (done.code, server.requests) == (1, [])
        assert reason in done.err
    assert has_no_version(millrace, "web_certificate")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/flights.csv",
        "https://localhost:{port}/flights.csv",
        "https://2130706433:{port}/flights.csv",
    ],
)
def test_an_address_that_is_not_allowed_gets_no_connection(web: HttpsServer, millrace: Millrace, url: str) -> None:
    done = millrace("load", "web_refused", url.format(port=web.port))
    assert (done.code, web.connections) == (2, 0)
    assert len(done.err.strip().splitlines()) == 1
