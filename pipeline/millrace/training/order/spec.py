"""The settings that decide the order of rows."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from millrace.errors import UsageError

ALGORITHM: Final = 1
"""The number of the algorithm. Golden hashes in the tests hold its order; another order is another number."""
SEED_MAX: Final = 2**63 - 1


class Shuffle(StrEnum):
    """How far rows move."""

    NONE = "none"
    """The stored order."""
    CHUNK = "chunk"
    """Chunks are permuted; the rows of a chunk stay in stored order."""
    WINDOW = "window"
    """Chunks are permuted, and the rows of ``window_chunks`` chunks of a lane are permuted together."""
    FULL = "full"
    """All rows of a lane are permuted together."""


class Tail(StrEnum):
    """The end of an epoch, where the rows of a lane are not a multiple of its rows in a batch."""

    DROP_LAST = "drop_last"
    """Rows after the last full batch are not delivered."""
    PAD = "pad"
    """The last batch is filled with rows that the epoch has already delivered."""
    UNEVEN = "uneven"
    """The last batch has the rest, so ranks may differ by one row for each lane."""


@dataclass(frozen=True)
class OrderSpec:
    """All that decides the order of rows, apart from the rows of each chunk and the epoch.

    ``version`` is the full reference, ``flights@12-3fa9c1``. ``window_chunks`` counts chunks of each lane; it has a
    meaning for ``Shuffle.WINDOW`` only.
    """

    version: str
    split: str | None
    seed: int
    lanes: int
    shuffle: Shuffle
    window_chunks: int
    algorithm: int = ALGORITHM

    def __post_init__(self) -> None:
        _check_range("seed", self.seed, 0, SEED_MAX)
        _check_range("lanes", self.lanes, 1)
        _check_range("window_chunks", self.window_chunks, 1)
        if self.algorithm != ALGORITHM:
            raise UsageError(
                f"order algorithm {self.algorithm} is not known",
                hint=f"this release of Millrace has algorithm {ALGORITHM}; use the release that wrote the state",
                expected=ALGORITHM,
                actual=self.algorithm,
            )


def _check_range(name: str, value: int, low: int, high: int | None = None) -> None:
    if value < low or (high is not None and value > high):
        limits = f"at least {low}" if high is None else f"from {low} to {high}"
        raise UsageError(f"{name} is {value}", hint=f"use a number {limits}", expected=limits, actual=value)
