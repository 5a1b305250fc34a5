"""Find the names that the form proposes as a source: the most recently changed ones in the allowed folders."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import Final

PROPOSED_MAX: Final = 50
ENTRIES_MAX: Final = 5_000
TIMEOUT_S: Final = 0.5

# Not imported from millrace.sources, which imports pyarrow: too slow for a file that is parsed all the time.
_PATTERN_SIGNS = frozenset("*?[")


def newest_names(
    roots: Sequence[str], *, at_most: int = PROPOSED_MAX, entries_max: int = ENTRIES_MAX, timeout_s: float = TIMEOUT_S
) -> list[str]:
    """Return names of files and folders directly below ``roots``, the most recently changed first.

    DAG files are parsed all the time, so a huge or slow folder must not delay that. At most ``entries_max`` names of
    each root are read, for about ``timeout_s`` seconds in all. Links, hidden names and names that would be read as a
    pattern or an address are not proposed. A folder that cannot be listed contributes no names.
    """
    deadline = time.monotonic() + timeout_s
    names_by_time: dict[str, int] = {}
    for root in roots:
        for name, changed_ns in _entries(root, entries_max):
            names_by_time.setdefault(name, changed_ns)  # a relative name is resolved in the first root that contains it
            if time.monotonic() > deadline:
                break
    return sorted(names_by_time, key=lambda name: (-names_by_time[name], name))[:at_most]


def _entries(root: str, entries_max: int) -> Iterator[tuple[str, int]]:
    try:
        with os.scandir(root) as listed:
            for entry in islice(listed, entries_max):
                if not _is_proposed(entry.name) or entry.is_symlink():
                    continue
                with suppress(FileNotFoundError):  # moved away meanwhile
                    yield entry.name, entry.stat(follow_symlinks=False).st_mtime_ns
    except OSError:
        return


def _is_proposed(name: str) -> bool:
    return name.isprintable() and not name.startswith((".", "_", "~", "-")) and not _PATTERN_SIGNS & set(name)
