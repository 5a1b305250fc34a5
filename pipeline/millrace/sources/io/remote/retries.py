"""Retries of interrupted transfers, with exponential back-off, a bounded number and a deadline."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from millrace.errors import SourceUnavailableError
from millrace.sources.io.remote.model import TransferInterrupted

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """The number of attempts without a byte, the delays between them, and the time after which the last one ends."""

    attempts_max: int = 8
    first_delay_s: float = 0.25
    delay_max_s: float = 15.0
    deadline_s: float = 120.0
    sleep: Callable[[float], None] = time.sleep

    def attempts(self, name: str) -> Attempts:
        """Return the attempts of one request for the source with this name."""
        return Attempts(self, name)

    def run(self, name: str, request: Callable[[], Answer]) -> Answer:
        """Return the answer of a request that is repeated while it is interrupted."""
        attempts = self.attempts(name)
        while True:
            try:
                return request()
            except TransferInterrupted as interruption:
                attempts.wait(interruption)


POLICY: Final = RetryPolicy()


class Attempts:
    """The attempts of a request since the last byte arrived."""

    def __init__(self, policy: RetryPolicy, name: str) -> None:
        self._policy = policy
        self._name = name
        self.reset()

    def reset(self) -> None:
        """Begin to count again, because a byte arrived."""
        self._count = 0
        self._began = time.monotonic()

    def wait(self, interruption: TransferInterrupted) -> None:
        """Wait before the next attempt; raises ``SourceUnavailableError`` if there is none left."""
        self._count += 1
        policy = self._policy
        # Random, so that the loaders of one source do not ask again at the same moment.
        delay_s = min(policy.first_delay_s * 2 ** (self._count - 1), policy.delay_max_s) * random.uniform(0.5, 1)  # noqa: S311
        if self._count >= policy.attempts_max or time.monotonic() - self._began + delay_s > policy.deadline_s:
            raise SourceUnavailableError(
                f"{self._name} cannot be read now: {interruption}",
                hint=f"{self._count} attempts failed; run the load again later",
                attempts=self._count,
            ) from interruption
        policy.sleep(delay_s)
