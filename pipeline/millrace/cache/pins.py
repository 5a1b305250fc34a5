"""Pins: a job records that it uses a version, so that no warming evicts the version meanwhile."""

from __future__ import annotations

import os
import socket
from typing import Final
from uuid import uuid4

PIN_S: Final = 60.0
"""Seconds after which the pin of a dead process ends."""
RENEW_S: Final = 15.0


def new_holder(kind: str) -> str:
    """Return a unique name for the holder of a pin in this process."""
    return f"{kind}{socket.gethostname()}/{os.getpid()}/{uuid4().hex[:8]}"
