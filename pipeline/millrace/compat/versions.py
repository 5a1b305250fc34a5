"""Versions of dependencies whose private interfaces Millrace was tested with.

Outside a range the modules of this room use public interfaces only. CONTRIBUTING.md says how to raise a range.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import Final

_stock: set[str] = set()


@dataclass(frozen=True, slots=True)
class VersionRange:
    """The tested versions of a distribution: from ``first`` on, ``before`` excluded. Numbers alone are compared."""

    distribution: str
    first: str
    before: str

    def contains(self, version: str) -> bool:
        """Return whether the version is in the range; a release candidate counts as its release."""
        return _numbers(self.first) <= _numbers(version) < _numbers(self.before)

    def is_installed(self) -> bool:
        """Return whether the installed version is in the range, and no test forces the stock behaviour."""
        return self.distribution not in _stock and _is_installed(self)


CASSANDRA_DRIVER: Final = VersionRange("cassandra-driver", "3.30", "3.31")
ISAL: Final = VersionRange("isal", "1.7", "1.10")
PYARROW: Final = VersionRange("pyarrow", "25", "26")
REDIS: Final = VersionRange("redis", "6.4", "8.2")
RANGES: Final = (CASSANDRA_DRIVER, ISAL, PYARROW, REDIS)


@contextmanager
def stock_behaviour(*ranges: VersionRange) -> Iterator[None]:
    """Make these dependencies count as outside their range, in all threads, while in the ``with`` block; for tests."""
    names = {tested.distribution for tested in ranges} - _stock
    _stock.update(names)
    try:
        yield
    finally:
        _stock.difference_update(names)


@cache
def _is_installed(tested: VersionRange) -> bool:
    return tested.contains(metadata.version(tested.distribution))


def _numbers(version: str) -> tuple[int, ...]:
    numbers = []
    for part in version.split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        numbers.append(int(digits or 0))
        if digits != part:
            break
    return tuple(numbers)
