"""Keep a producer of the parent process alive in a forked child."""

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


def keep_until_process_ends(producer: Any) -> None:
    """Never destroy the producer in this process, also not when the interpreter ends.

    The threads of a producer do not exist in a forked child. Destroying it there may wait for ever, for them or for a
    lock that one of them had. confluent-kafka has no other way to give it up.
    """
    _Keeper(producer)  # type: ignore[abstract]  # no time zone is ever computed
