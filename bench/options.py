"""The options of a benchmark that a user may choose."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

__all__ = ["SHAPE_NAMES", "Options"]

SHAPE_NAMES = ("floats", "images", "tokens")
"""The shapes of training data that ``training`` has."""


@dataclass(frozen=True, slots=True)
class Options:
    """The counts and durations of a benchmark.

    ``runs`` is the number of runs of each contestant, in turn. ``times`` is how often the rows of flights are repeated.
    DSBulk has counts of its own, because it takes minutes. ``warm_ups`` come before the runs where nodes answer reads.
    ``fresh`` is the number of processes of each contestant whose first run is measured. ``before_s`` and ``after_s``
    are the seconds before and after each fault of ``failover``; ``traffic_s`` is the duration of ``traffic``.
    ``shapes`` are those of ``training``, and ``megabytes`` is the size of each. ``probe`` is the file of a probe of a
    training reader.
    """

    runs: int = 5
    warm_ups: int = 10
    fresh: int = 3
    times: int = 20
    dsbulk_runs: int = 3
    dsbulk_times: int = 3
    quiet: bool = False
    before_s: float = 30.0
    after_s: float = 60.0
    traffic_s: float = 300.0
    shapes: tuple[str, ...] = SHAPE_NAMES
    megabytes: int = 500
    probe: Path | None = None

    @property
    def cores(self) -> int:
        """Return the number of cores that this process may use."""
        return len(os.sched_getaffinity(0))

    def say(self, line: str) -> None:
        """Print a line of progress on standard error, unless ``quiet`` is set."""
        if not self.quiet:
            print(line, file=sys.stderr, flush=True)
