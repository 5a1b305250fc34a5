"""What a person may choose about a benchmark."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

__all__ = ["Options"]


@dataclass(frozen=True, slots=True)
class Options:
    """``runs`` of each contestant, in turn; ``times`` the flights' rows; DSBulk apart, for it takes minutes.

    ``warm_ups`` come before the runs where nodes answer reads; ``fresh`` processes of each make their first run there.
    ``before_s`` and ``after_s`` of each fault of ``failover``; ``traffic_s`` of the crowd in ``traffic``.
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

    @property
    def cores(self) -> int:
        """The cores that this process may use."""
        return len(os.sched_getaffinity(0))

    def say(self, line: str) -> None:
        """Progress, on standard error."""
        if not self.quiet:
            print(line, file=sys.stderr, flush=True)
