"""The URL of the cache: which options it may have, checked before anything is connected.

redis-py hands every option of the query to its connection, over the arguments that the cache sets itself. Some
change what a read gets (``decode_responses``), some let it wait (``socket_timeout``), and unknown ones fail at the
first command. So the options that leave both alone are listed here.
"""

from __future__ import annotations

import difflib
import re
import ssl
from collections.abc import Callable
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

__all__ = ["check_redis_url"]

_FORM = "write it as redis://host:port/db, rediss://host:port/db or unix:///path?db=0"
_ESCAPES = "in a password write # as %23, / as %2F, ? as %3F and @ as %40"
_TIMEOUTS = frozenset({"socket_timeout", "socket_connect_timeout", "timeout"})
_DB_MAX = 1_000_000
_INTERVAL_MAX_S = 86_400


def check_redis_url(url: str) -> str:
    """Return the URL itself; ``ValueError`` names the option that is refused, and never a value or a password."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError(f"no address of a Redis; {_FORM}; {_ESCAPES}") from None
    _check_address(parts, port)
    _check_options(parts)
    return url


def _check_address(parts: SplitResult, port: int | None) -> None:
    local = parts.scheme == "unix"
    if parts.scheme not in ("redis", "rediss", "unix") or (local and (parts.hostname or port or not parts.path)):
        raise ValueError(f"no address of a Redis; {_FORM}")
    if port == 0 or parts.fragment or not (local or re.fullmatch(r"/?\d{0,6}", unquote(parts.path))):
        raise ValueError(f"no address of a Redis; {_FORM}; {_ESCAPES}")


def _check_options(parts: SplitResult) -> None:
    if "@" in parts.query:
        raise ValueError(f"an @ among its options; {_ESCAPES}")
    checks = dict(_OPTIONS)
    if parts.scheme != "unix":
        checks |= _TCP_OPTIONS
    if parts.scheme == "rediss":
        checks |= _TLS_OPTIONS
    seen: set[str] = set()
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in checks:
            raise ValueError(_unknown(name, list(checks)))
        if name in seen:
            raise ValueError(f"the option {name} is given twice")
        if not checks[name](value):
            raise ValueError(f"the option {name} has a value that it cannot have")
        seen.add(name)


def _unknown(name: str, known: list[str]) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}", name):
        return f"an option that is none; {_ESCAPES}"
    if name in _TIMEOUTS:
        return f"the option {name} is not taken: MILLRACE_REDIS__TIMEOUT_S is the cache's timeout"
    if name in _TLS_OPTIONS:
        return f"the option {name} belongs to rediss:// URLs"
    near = difflib.get_close_matches(name, known, n=1)
    return f"the option {name} is not taken; " + (f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}")


def _whole(highest: int) -> Callable[[str], bool]:
    return lambda value: value.isascii() and value.isdigit() and len(value) <= 9 and int(value) <= highest


def _word(value: str) -> bool:
    return bool(re.fullmatch(r"[!-~]{1,256}", value))


def _text(value: str) -> bool:
    return bool(value) and "\0" not in value


def _truth(value: str) -> bool:
    # redis-py takes any other word for true.
    return value.lower() in ("0", "f", "false", "n", "no", "1", "t", "true", "y", "yes")


_OPTIONS: dict[str, Callable[[str], bool]] = {
    "db": _whole(_DB_MAX),
    "username": _text,
    "password": _text,
    "client_name": _word,
    "health_check_interval": _whole(_INTERVAL_MAX_S),
}
_TCP_OPTIONS: dict[str, Callable[[str], bool]] = {"socket_keepalive": _truth}
_TLS_OPTIONS: dict[str, Callable[[str], bool]] = {
    "ssl_cert_reqs": lambda value: value in ("none", "optional", "required"),
    "ssl_check_hostname": _truth,
    "ssl_ca_certs": _text,
    "ssl_ca_path": _text,
    "ssl_ca_data": _text,
    "ssl_certfile": _text,
    "ssl_keyfile": _text,
    "ssl_password": _text,
    "ssl_ciphers": _text,
    "ssl_min_version": lambda value: value in {str(int(version)) for version in ssl.TLSVersion if version > 0},
}
