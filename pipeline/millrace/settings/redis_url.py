"""Check the URL of the cache and its options before connecting.

redis-py passes every option of the query to its connection, where it overrides the arguments of the cache. Some options
change the result of a read (``decode_responses``), some change its timeout (``socket_timeout``), and unknown ones fail
at the first command. So only options that affect neither are accepted.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from millrace.names import nearest

_FORMS = "write it as redis://host:port/db, rediss://host:port/db or unix:///path?db=0"
_ESCAPES = "in a password write # as %23, / as %2F, ? as %3F and @ as %40"
_TIMEOUTS = frozenset({"socket_timeout", "socket_connect_timeout", "timeout"})
_DB_MAX = 1_000_000
_INTERVAL_MAX_S = 86_400


def check_redis_url(url: str) -> str:
    """Return the URL if it is valid; raise ``ValueError`` otherwise.

    The error names the option that is refused, and never a value or a password.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError(f"not a Redis URL; {_FORMS}; {_ESCAPES}") from None
    _check_address(parts, port)
    _check_options(parts)
    return url


def _check_address(parts: SplitResult, port: int | None) -> None:
    local = parts.scheme == "unix"
    if parts.scheme not in ("redis", "rediss", "unix") or (local and (parts.hostname or port or not parts.path)):
        raise ValueError(f"not a Redis URL; {_FORMS}")
    if port == 0 or parts.fragment or not (local or re.fullmatch(r"/?\d{0,6}", unquote(parts.path))):
        raise ValueError(f"not a Redis URL; {_FORMS}; {_ESCAPES}")


def _check_options(parts: SplitResult) -> None:
    if "@" in parts.query:
        raise ValueError(f"an @ among its options; {_ESCAPES}")
    is_tcp, is_tls = parts.scheme != "unix", parts.scheme == "rediss"
    options = {**_OPTIONS, **(_TCP_OPTIONS if is_tcp else {}), **(_TLS_OPTIONS if is_tls else {})}
    # Given two databases or passwords, redis-py uses one of them without an error.
    before = {"username": parts.username, "password": parts.password, "db": is_tcp and unquote(parts.path).strip("/")}
    seen = {name for name, value in before.items() if value}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in options:
            raise ValueError(_unknown(name, list(options)))
        if name in seen:
            raise ValueError(f"{name} is given twice")
        if not options[name].takes(value):
            raise ValueError(f"the option {name} takes {options[name].values} only")
        seen.add(name)


def _unknown(name: str, known: list[str]) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}", name):
        return f"an unknown option; {_ESCAPES}"
    if name in _TIMEOUTS:
        return f"the option {name} is not supported: MILLRACE_REDIS__TIMEOUT_S is the cache's timeout"
    if name in _TLS_OPTIONS:
        return f"the option {name} belongs to rediss:// URLs"
    near = nearest(name, known, at_most=1)
    return f"the option {name} is not supported; " + (
        f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
    )


@dataclass(frozen=True, slots=True)
class _Option:
    """The values that an option may have, as text and as a check."""

    values: str
    takes: Callable[[str], bool]


def _whole_number(highest: int) -> _Option:
    pattern = re.compile(rf"[0-9]{{1,{len(str(highest))}}}")
    return _Option(
        f"a whole number from 0 to {highest}",
        lambda value: bool(pattern.fullmatch(value)) and int(value) <= highest,
    )


def _word_of(*words: str) -> _Option:
    return _Option(" or ".join([", ".join(words[:-1]), words[-1]]), lambda value: value.lower() in words)


_WORD = _Option("1 to 256 ASCII characters without blanks", lambda value: bool(re.fullmatch(r"[!-~]{1,256}", value)))
_TEXT = _Option("a text that is not empty", lambda value: bool(value) and "\0" not in value)
# redis-py reads any other word as true.
_TRUTH = _word_of("true", "false", "yes", "no", "t", "f", "y", "n", "1", "0")

_OPTIONS = {
    "db": _whole_number(_DB_MAX),
    "username": _TEXT,
    "password": _TEXT,
    "client_name": _WORD,
    "health_check_interval": _whole_number(_INTERVAL_MAX_S),
}
_TCP_OPTIONS = {"socket_keepalive": _TRUTH}
_TLS_OPTIONS = {
    "ssl_cert_reqs": _Option("none, optional or required", lambda value: value in ("none", "optional", "required")),
    "ssl_check_hostname": _TRUTH,
    "ssl_ca_certs": _TEXT,
    "ssl_ca_path": _TEXT,
    "ssl_ca_data": _TEXT,
    "ssl_certfile": _TEXT,
    "ssl_keyfile": _TEXT,
    "ssl_password": _TEXT,
    "ssl_ciphers": _TEXT,
    "ssl_min_version": _word_of(*(str(int(version)) for version in ssl.TLSVersion if version > 0)),
}
