"""Write times that are later than those of the copies and rows that Cassandra already has."""

from __future__ import annotations

import time
from collections.abc import Sequence


def future_tombstone_timestamp() -> int:
    """Return a write time in microseconds, 25 hours ahead, for deleting keys that are never used again.

    A clock that is up to a day ahead may have written the deleted rows. A tombstone with the current time would not
    cover them.
    """
    return int((time.time() + 25 * 3600) * 1_000_000)


def later_than(times: Sequence[int | None]) -> int:
    """Return a write time in microseconds since 1970: now, or just after the latest of ``times`` if that is later."""
    return max([int(time.time() * 1_000_000), *(at + 1 for at in times if at is not None)])
