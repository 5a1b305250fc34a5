"""Keep an object that must not be destroyed alive until the process ends."""

from __future__ import annotations

from datetime import datetime, tzinfo
from typing import Any


class _Keeper(tzinfo):
    """Holder of an object, in a reference cycle through a ``datetime``.

    A ``datetime`` is not tracked by the garbage collector of CPython, so neither it nor the interpreter at its end
    frees the cycle.
    """

    def __init__(self, kept: Any) -> None:
        self.kept = kept
        self.cycle = datetime.min.replace(tzinfo=self)


def keep_until_process_ends(kept: Any) -> None:
    """Never destroy the object in this process, also not when the interpreter ends.

    One such object is a producer of confluent-kafka in a forked child. The producer's threads do not exist there, and
    destroying it may wait for ever, for them or for a lock that one of them had. It has no other way to be given up.
    """
    _Keeper(kept)  # type: ignore[abstract]  # no time zone is ever computed
