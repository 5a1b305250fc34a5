"""Show URIs without the credentials in them."""

from __future__ import annotations

import re
from typing import Final

SECRET_PARAMETER: Final = re.compile(
    r"([?&][^=&#\s\"']*(?:signature|sig|token|secret|password|passwd|credential|(?:api|access)[-_]?key(?:id)?)=)[^&#\s\"']*",
    re.IGNORECASE,
)
"""A parameter of a URL that gives access, with its value."""
_CREDENTIALS: Final = re.compile(r"(://)[^/\s\"']*@")


def without_credentials(text: str) -> str:
    """Return the text with ``***`` for the credentials of URIs in it."""
    return SECRET_PARAMETER.sub(r"\1***", _CREDENTIALS.sub(r"\1***@", text))
