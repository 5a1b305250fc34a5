"""Credentials within a URI: find them, and show a text without them."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

_PARAMETER: Final = re.compile(
    r"((?:[?&](?:[^=&;#\s\"']*[-_])?key(?:id)?|"
    r"[?&;][^=&;#\s\"']*(?:signature|sig|token|secret|password|passwd|credential|(?:api|access)[-_]?key(?:id)?))=)"
    r"[^&#\s\"']*",
    re.IGNORECASE,
)
"""A parameter of a URL that gives access, with its value. A ``;`` begins a parameter, too."""
_USER: Final = re.compile(r"(://)(?:[^/\s\"']*|[^/:\[\s\"']*:(?!\d{1,5}(?:[/?#]|$))[^\s\"']*)@")
"""A user and a password, which may have a slash in it, as many secrets of S3 have."""


def has_credentials(uri: str) -> bool:
    """Return whether a URI has a user, a password, or a parameter that gives access."""
    try:
        return "@" in urlsplit(uri).netloc or without_credentials(uri) != uri
    except ValueError:
        return "@" in uri


def without_credentials(text: str) -> str:
    """Return the text with ``***`` for the credentials of URIs in it."""
    return _PARAMETER.sub(r"\1***", _USER.sub(r"\1***@", text))
