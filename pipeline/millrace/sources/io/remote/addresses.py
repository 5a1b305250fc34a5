"""Addresses on the network: parse a URL strictly, resolve a host, and tell public addresses from others."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple
from urllib.parse import SplitResult, urlsplit

from millrace.errors import SourceNotFoundError, UsageError
from millrace.names import has_credentials
from millrace.settings import HTTPS_PORT, IPAddress, host_and_port
from millrace.sources.io.remote.model import TransferInterrupted

Resolve = Callable[[str, int], Sequence[str]]
"""A function that returns the IP addresses of a host and port, in the order in which they are tried."""

_PORTS: Final = {"https": HTTPS_PORT, "http": 80}
_ODD_CHARACTERS: Final = re.compile(r"[^\x21-\x7e]|\\")
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_NOT_PUBLIC: Final = tuple(map(ipaddress.IPv6Network, ("fec0::/10", "3fff::/20")))
"""Site-local addresses and addresses of documentation, which the standard library calls global."""


class WebAddress(NamedTuple):
    """A checked URL: ``host`` in its one spelling, ``target`` is path and query."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        """Return host and port as in the header ``Host``: the port only where it is not that of the scheme."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        """Return the URL for messages, without its query, which may give access."""
        return f"{self.scheme}://{self.authority}{self.target.partition('?')[0]}"


def refuse_credentials(uri: str) -> None:
    """Raise ``UsageError``, without the URI in its message, for a URI with credentials."""
    if has_credentials(uri):
        raise UsageError("the URI has credentials", hint="remove them, and name a connection that has them")


def refuse_odd_characters(url: str) -> None:
    """Raise ``UsageError`` for characters that programs read in different ways, such as tabs and backslashes."""
    if _ODD_CHARACTERS.search(url):
        raise UsageError(
            "the URL has a backslash or a character outside of printable ASCII",
            hint="percent-encode it, and write the host in its ASCII form (xn--...)",
        )


def parse_url(url: str, *, schemes: Sequence[str] = ("https",)) -> WebAddress:
    """Return the parts of a URL.

    Raises ``UsageError``, without the URL in its message, for another scheme, for a user or password, and for spellings
    that two programs may read differently: control characters, blanks, backslashes, unusual IP addresses.
    """
    refuse_odd_characters(url)
    parts = _split(url)
    if parts.scheme not in schemes:
        raise UsageError(
            f"the URL does not begin with {' or '.join(f'{scheme}://' for scheme in schemes)}", hint="give such a URL"
        )
    try:
        host, port = host_and_port(parts.netloc, _PORTS[parts.scheme])
    except ValueError:
        raise UsageError(
            "the URL does not name a host in its usual form", hint="give https://HOST/PATH or https://HOST:PORT/PATH"
        ) from None
    return WebAddress(parts.scheme, host, port, f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}")


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        raise UsageError("the text is not a URL", hint="give https://HOST/PATH") from None


def resolve(host: str, port: int) -> list[str]:
    """Return the addresses of a host by the system's resolver; raises ``SourceNotFoundError`` where it has none."""
    try:
        answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        if isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN:
            raise TransferInterrupted("the name of the host cannot be resolved now") from None
        raise SourceNotFoundError(f"there is no host {host}", hint="check the spelling of its name") from None
    return list(dict.fromkeys(str(answer[4][0]) for answer in answers))


def is_public(address: IPAddress) -> bool:
    """Return whether an address is on the public internet; an IPv4 address within an IPv6 one decides for both."""
    if isinstance(address, ipaddress.IPv6Address):
        if embedded := _embedded(address):
            return is_public(embedded)
        if any(address in network for network in _NOT_PUBLIC):
            return False
    # Multicast and reserved addresses may be global for the standard library.
    return address.is_global and not (address.is_multicast or address.is_reserved)


def _embedded(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if address in _NAT64:
        return ipaddress.IPv4Address(address.packed[-4:])
    return address.ipv4_mapped or address.sixtofour
