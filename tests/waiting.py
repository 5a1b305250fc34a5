"""Wait for a condition that another thread or process makes true."""

import time
from collections.abc import Callable
from typing import Any


def until(
    condition: Callable[[], Any],
    what: str | Callable[[], object],
    timeout_s: float = 30.0,
    *,
    interval_s: float = 0.02,
) -> Any:
    """Poll until the condition holds, and return its value; ``what`` may be called for the message of the failure."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {timeout_s} s for {what() if callable(what) else what}"
        time.sleep(interval_s)
    return value
