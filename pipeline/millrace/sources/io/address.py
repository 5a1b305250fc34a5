"""Parsing of the text that names a source into an address: a scheme, a path, and the wildcards below a folder."""

from __future__ import annotations

import glob
import os
import re
from dataclasses import dataclass
from urllib.parse import unquote

from millrace.errors import SourceNotFoundError, UsageError
from millrace.names import has_credentials, without_credentials

WILDCARDS = frozenset("*?[")
OBJECT_STORES = ("s3", "gs")
REMOTE_SCHEMES = (*OBJECT_STORES, "https")
_ESCAPED = re.compile(r"\[([*?[])\]")
_UNESCAPED = r"\1"
_ENCODED = re.compile("(?:%[0-9A-Fa-f]{2})+")


@dataclass(frozen=True, slots=True)
class Address:
    """The address of a source.

    ``path`` is its literal text, in which wildcards have no meaning. It is absolute for a local source, and begins with
    the bucket or the host for a remote one. For a pattern ``base`` is a literal path, and ``parts`` are the components
    below it from the first wildcard on.
    """

    scheme: str
    path: str
    base: str = ""
    parts: tuple[str, ...] = ()

    @property
    def pattern(self) -> str:
        """Return the pattern as text, with wildcard characters of ``base`` escaped; ``path`` if there is none."""
        return "/".join((glob.escape(self.base.rstrip("/")), *self.parts)) if self.parts else self.path

    @property
    def is_remote(self) -> bool:
        """Return whether the source is at a remote address."""
        return self.scheme in REMOTE_SCHEMES


def address_of(uri: str, *, folder: str | None = None) -> Address:
    """Return the address of a source; a relative path is below ``folder`` (default: the working directory).

    If a path with this text exists, no character of it is a wildcard. Characters of ``folder``, of the home directory,
    and percent-encoded ones of a ``file://`` address are never wildcards. Brackets in a component are none if a file
    has exactly that name. The keys of objects are literal, without percent-encoding, and an ``https://`` address has no
    wildcards. Raises ``UsageError`` for an unsupported scheme, and for credentials in the address.
    """
    scheme, separator, rest = uri.partition("://")
    if not separator or "/" in scheme:
        return _of_path(uri, folder)
    scheme = scheme.lower()
    if scheme == "file":
        return _of_file_uri(uri, rest)
    if has_credentials(uri):
        raise UsageError(
            "the address of the source has credentials in it", hint="remove them, and name a connection (--connection)"
        )
    if scheme in OBJECT_STORES:
        return _of_objects(scheme, rest)
    if scheme not in REMOTE_SCHEMES:
        known = ", ".join(f"{name}://" for name in ("file", *REMOTE_SCHEMES))
        raise UsageError(f"{scheme}:// addresses cannot be loaded", hint=f"give a path or one of {known}")
    return Address(scheme, rest)


def _of_file_uri(uri: str, rest: str) -> Address:
    host, _, below = rest.partition("/")
    if host.lower() not in ("", "localhost"):
        raise UsageError(f"{without_credentials(uri)} names another host", hint="write file:///path with three slashes")
    path = f"/{below}"
    return _local(_ENCODED.sub(_decoded, path), _ENCODED.sub(lambda run: glob.escape(_decoded(run)), path))


def _of_objects(scheme: str, rest: str) -> Address:
    bucket, _, key = rest.partition("/")
    if not bucket or WILDCARDS & set(bucket):
        raise UsageError(f"{scheme}://{rest} names no bucket", hint=f"write {scheme}://bucket/path")
    base, parts = bucket, key.split("/")
    while parts and not WILDCARDS & set(_ESCAPED.sub("", parts[0])):
        base, parts = f"{base}/{_ESCAPED.sub(_UNESCAPED, parts[0])}", parts[1:]
    return Address(scheme, rest, base, tuple(parts)) if parts else Address(scheme, base)


def local_path(uri: str) -> str:
    """Return the path of a local file named by ``uri``, without any wildcards; ``UsageError`` for other schemes."""
    address = address_of(uri)
    if address.scheme != "file":
        raise UsageError(f"{uri} is not a file of this machine", hint="give a path or a file:// address")
    return address.path


def _of_path(text: str, folder: str | None) -> Address:
    above = folder or ("/" if text.startswith("/") else _working_directory(text))
    if text.startswith("~"):
        user, _, below = text.partition("/")
        home = os.path.expanduser(user)  # noqa: PTH111
        above, text = (home, below or ".") if home != user else (above, text)
    return _local(os.path.join(above, text), os.path.join(glob.escape(above), text))  # noqa: PTH118


def _working_directory(text: str) -> str:
    try:
        return os.getcwd()  # noqa: PTH109
    except FileNotFoundError:
        raise SourceNotFoundError(
            f"{text} does not exist: the working directory was removed", hint="change to a folder that exists"
        ) from None


def _local(literal: str, pattern: str) -> Address:
    # Normalized as text, without following links: "a/../b" is "b", also if "a" is a link.
    path = os.path.normpath(literal)
    if path.startswith("//"):
        path = path[1:]
    if os.path.lexists(path):
        return Address("file", path)
    components = os.path.normpath(pattern).lstrip("/").split("/")
    base, parts = "", components
    while parts and (name := _literal(base, parts[0])) is not None:
        base, parts = f"{base}/{name}", parts[1:]
    if not parts:
        return Address("file", base or "/")
    return Address("file", path, base or "/", tuple(parts))


def _literal(base: str, component: str) -> str | None:
    """Return the name that a component denotes, or None if it is a pattern."""
    if not WILDCARDS & set(_ESCAPED.sub("", component)):
        return _ESCAPED.sub(_UNESCAPED, component)
    return component if "[" in component and os.path.lexists(f"{base}/{component}") else None


def _decoded(run: re.Match[str]) -> str:
    return unquote(run[0], errors="surrogateescape")
