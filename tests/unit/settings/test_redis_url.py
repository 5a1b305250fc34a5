"""The URL of the cache: options that would change or block reads are refused by name."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from millrace.cache.client import make_pool
from millrace.cli import main
from millrace.errors import InvalidSettingError
from millrace.settings import RedisSettings, load_settings
from millrace.settings.redis_url import check_redis_url

TAKEN = [
    "redis://127.0.0.1:6379/0",
    "redis://cache",
    "redis:///3",
    "redis://:p%40%2F%3F%23w@cache:6380/?db=4",
    "redis://u:p@cache:6379?client_name=millrace&socket_keepalive=yes&health_check_interval=30",
    "unix:///run/redis.sock?db=2&password=word",
    "unix://u:p@/run/redis.sock",
    "rediss://cache/1?ssl_cert_reqs=none&ssl_check_hostname=False&ssl_min_version=771&ssl_ca_certs=/etc/ca.pem",
    "rediss://[::1]:6379/0?ssl_certfile=/c&ssl_keyfile=/k&ssl_password=word&ssl_ciphers=HIGH&ssl_ca_path=/etc/ssl",
]


@pytest.mark.parametrize("url", TAKEN)
def test_a_valid_url_makes_a_connection_that_returns_bytes(url: str) -> None:
    pool = make_pool(load_settings(redis={"url": url, "timeout_s": 1.5}).redis)
    connection: Any = pool.make_connection()
    assert connection.socket_timeout == 1.5
    assert not connection.encoder.decode_responses


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("decode_responses=True", "the option decode_responses is not supported; known: db, "),
        ("decode_responses=False", "the option decode_responses is not supported"),
        ("decode_responses", "the option decode_responses is not supported"),
        ("nonsense=1", "the option nonsense is not supported; known: db, username, password, client_name, "),
        ("encoding=latin-1&decode_responses=1", "the option encoding is not supported"),
        ("socket_timeout=600", "the option socket_timeout is not supported: MILLRACE_REDIS__TIMEOUT_S"),
        ("socket_connect_timeout=600", "the option socket_connect_timeout is not supported: MILLRACE_REDIS__TIMEOUT_S"),
        ("timeout=600", "the option timeout is not supported: MILLRACE_REDIS__TIMEOUT_S"),
        ("retry_on_timeout=1", "the option retry_on_timeout is not supported"),
        ("retry=1", "the option retry is not supported"),
        ("max_connections=1", "the option max_connections is not supported"),
        ("connection_class=x", "the option connection_class is not supported"),
        ("command_packer=x", "the option command_packer is not supported"),
        ("parser_class=x", "the option parser_class is not supported"),
        ("protocol=3", "the option protocol is not supported"),
        ("cache_factory=x", "the option cache_factory is not supported"),
        ("host=elsewhere", "the option host is not supported"),
        ("client_nam=x", "the option client_nam is not supported; did you mean client_name?"),
        ("DB=1", "the option DB is not supported"),
        ("ssl_ca_certs=/etc/ca.pem", "the option ssl_ca_certs belongs to rediss:// URLs"),
        ("db=1", "db is given twice"),
        ("username=other", "username is given twice"),
        ("password=other", "password is given twice"),
        ("client_name=a b", "the option client_name takes 1 to 256 ASCII characters without blanks only"),
        ("socket_keepalive=perhaps", "the option socket_keepalive takes true, false, yes, no, t, f, y, n, 1 or 0 only"),
        ("health_check_interval=1e9", "the option health_check_interval takes a whole number from 0 to 86400 only"),
        ("health_check_interval=86401", "the option health_check_interval takes a whole number from 0 to 86400 only"),
    ],
)
def test_an_unsupported_option_is_refused_by_name(query: str, reason: str) -> None:
    with pytest.raises(InvalidSettingError) as error:
        load_settings(redis={"url": f"redis://user:secret-word@127.0.0.1:6379/0?{query}"})
    assert f"MILLRACE_REDIS__URL: {reason}" in str(error.value)
    assert "secret-word" not in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("redis://cache?db=secret-word", "the option db takes a whole number from 0 to 1000000 only"),
        ("redis://cache?db=-1", "the option db takes a whole number"),
        ("redis://cache/?db=", "the option db takes a whole number"),
        ("redis://cache?db=\u0663", "the option db takes a whole number"),
        ("redis://cache?db=1&db=2", "db is given twice"),
        ("rediss://cache/2?db=2", "db is given twice"),
        ("rediss://cache?ssl_min_version=1", "the option ssl_min_version takes 768, 769, 770, 771 or 772 only"),
        ("rediss://cache?ssl_cert_reqs=NONE", "the option ssl_cert_reqs takes none, optional or required only"),
    ],
)
def test_an_invalid_value_of_an_option_is_refused_with_the_valid_ones(url: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as error:
        check_redis_url(url)
    assert "secret-word" not in str(error.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://secret-word@x",
        "127.0.0.1:6379",
        "redis://secret-word:x@h:notaport",
        "redis://:secret-word#x@cache:6379/0",
        "redis://:12#secret-word@cache:6379/0",
        "redis://:secret-word/x@cache:6379/0",
        "redis://:12/secret-word@cache:6379/0",
        "redis://:12?secret-word=1@cache:6379/0",
        "redis://:12?secret-word@cache:6379/0",
        "redis://cache/0?secret word=1",
        "redis://cache/1/2",
        "redis://cache/first",
        "redis://cache:0/0",
        "redis://[::1/0",
        "unix://run/redis.sock",
        "unix://",
        "unix:///run/redis.sock?socket_keepalive=1",
        "rediss://cache/0?ssl_cert_reqs=perhaps",
        "rediss://cache/0?ssl_min_version=1",
        "rediss://cache/0?ssl_validate_ocsp=False",
    ],
)
def test_an_invalid_url_is_refused_without_showing_its_password(url: str) -> None:
    with pytest.raises(InvalidSettingError, match="MILLRACE_REDIS__URL: ") as error:
        load_settings(redis={"url": url})
    assert "secret-word" not in str(error.value)
    with pytest.raises(ValueError) as direct:
        RedisSettings(url=url)  # type: ignore[arg-type]
    assert "secret-word" not in str(direct.value)


def test_an_empty_url_disables_the_cache() -> None:
    assert load_settings(redis={"url": ""}).redis.url.get_secret_value() == ""


def test_every_option_of_redis_py_is_accepted_or_refused_by_name() -> None:
    known: Any = redis.connection
    for name in known.URL_QUERY_ARGUMENT_PARSERS:
        for scheme in ("redis", "rediss"):
            try:
                check_redis_url(f"{scheme}://cache/0?{name}=1")
            except ValueError as error:
                assert name in str(error)  # noqa: PT017


@pytest.mark.parametrize("command", [["read", "r"], ["load", "r", "t.csv"], ["warm", "r"], ["ls"], ["doctor"]])
def test_commands_refuse_an_unsupported_option_first(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    monkeypatch.setenv("MILLRACE_REDIS__URL", "redis://:secret-word@127.0.0.1:6379/0?decode_responses=True")
    assert main(command) == 2
    streams = capsys.readouterr()
    assert "MILLRACE_REDIS__URL: the option decode_responses is not supported" in streams.err
    assert "secret-word" not in streams.out + streams.err
