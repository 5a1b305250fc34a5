"""Find the names that the form proposes as a source: the newest ones in the allowed folders."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import Final

PROPOSED_MAX: Final = 50
LOOKED_AT_MAX: Final = 5_000
LOOKED_AT_S: Final = 0.5

# Not imported from millrace.sources, which imports pyarrow: too slow for a file that is parsed all the time.
_PATTERN_SIGNS = frozenset("*?[")


def newest_names(
    roots: Sequence[str], *, at_most: int = PROPOSED_MAX, look_at: int = LOOKED_AT_MAX, look_s: float = LOOKED_AT_S
) -> list[str]:
    """Return names of files and folders directly below ``roots``, the most recently changed first.

    A DAG file is parsed all the time, so a huge or slow folder must not delay it. At most ``look_at`` names of each
    root are read, for about ``look_s`` seconds in all. Links, hidden names and names that would be read as a pattern or
    an address are not proposed. A folder that cannot be listed contributes no names.
    """
    until = time.monotonic() + look_s
    names_by_time: dict[str, int] = {}
    for root in roots:
        for name, changed_ns in _entries(root, look_at):
            names_by_time.setdefault(name, changed_ns)  # a relative name is resolved in the first root that contains it
            if time.monotonic() > until:
                break
    return sorted(names_by_time, key=lambda name: (-names_by_time[name], name))[:at_most]


def _entries(root: str, look_at: int) -> Iterator[tuple[str, int]]:
    try:
        with os.scandir(root) as listed:
            for entry in islice(listed, look_at):
                if not _is_proposed(entry.name) or entry.is_symlink():
                    continue
                with suppress(FileNotFoundError):  # moved away meanwhile
                    yield entry.name, entry.stat(follow_symlinks=False).st_mtime_ns
    except OSError:
        return


def _is_proposed(name: str) -> bool:
    return name.isprintable() and not name.startswith((".", "_", "~", "-")) and not _PATTERN_SIGNS & set(name)
