"""Choose the versions that are evicted when a warming needs memory: the least used ones for their size first."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

_HALF_LIFE_S = 86_400.0
"""A use counts half as much after a day."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An unpinned cached version: its values with their memory in bytes, and the ages of its uses in seconds.

    A use is the warming itself, or a job that opened the version.
    """

    name: str
    values: Mapping[str, int]
    ages_s: Sequence[float]

    @property
    def value_density(self) -> float:
        """Return the uses, of which recent ones count more, for each byte."""
        uses = sum(math.exp2(-age_s / _HALF_LIFE_S) for age_s in self.ages_s)
        return uses / max(1, sum(self.values.values()))


def victims(
    candidates: Sequence[Candidate],
    others: Iterable[Collection[str]],
    needed: Collection[str],
    missing_bytes: int,
    *,
    or_all: bool = False,
) -> list[str]:
    """Return the names of versions to evict so that ``missing_bytes`` become free.

    If all of them are not enough, return none, or with ``or_all`` all.

    ``others`` are the values of each version that is no candidate, and ``needed`` those of the warming: they stay, so
    they free nothing. A version is left out where the others free enough without it.
    """
    kept = set(needed).union(*others)

    def is_enough(chosen: Sequence[Candidate]) -> bool:
        staying = kept.union(*(each.values for each in candidates if each not in chosen))
        freed = {value: size for each in chosen for value, size in each.values.items() if value not in staying}
        return sum(freed.values()) >= missing_bytes

    chosen: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda each: each.value_density):
        chosen.append(candidate)
        if is_enough(chosen):
            break
    else:
        return [each.name for each in candidates] if or_all else []
    for candidate in reversed(chosen):
        rest = [each for each in chosen if each is not candidate]
        if is_enough(rest):
            chosen = rest
    return [each.name for each in chosen]
