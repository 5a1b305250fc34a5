"""Matching of a pattern's components (``*``, ``?``, ``[``, ``**``) against the components of a path, one by one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import translate

from millrace.sources.io.hidden import is_hidden


class Pattern:
    """A pattern; its state after some components of a path is a set of positions in it, ``START`` before the first."""

    START = frozenset([0])

    def __init__(self, parts: Sequence[str]) -> None:
        self._parts = parts
        self._last = len(parts) - 1
        self._matches = [re.compile(translate(part)).match for part in parts]

    def reached(self, states: Iterable[int]) -> list[int]:
        """Return each position that the next component may match: ``**`` may also stand for no component."""
        reached = set(states)
        for start in states:
            position = start
            while self._parts[position] == "**" and position < self._last:
                position += 1
                reached.add(position)
        return sorted(reached)

    def step(self, positions: Sequence[tuple[int, str]], name: str) -> tuple[bool, frozenset[int], bool]:
        """Match a name; return whether a file of it is taken, the positions below it, and whether it is spelled out.

        A position has an exact name for it, or "" where the component is a pattern. A folder of that name continues at
        the positions below. A name is spelled out when a component other than ``**`` matches it and begins with the
        same character, so that a hidden name is meant.
        """
        taken, below, is_explicit = False, set(), False
        for position, exact in positions:
            part = self._parts[position]
            if part == "**":
                below.add(position)
                taken = taken or position == self._last
            elif name == exact if exact else self._matches[position](name):
                is_explicit = is_explicit or part[0] == name[0]
                taken = taken or position == self._last
                if position < self._last:
                    below.add(position + 1)
        return taken, frozenset(below), is_explicit

    def match(self, path: str) -> tuple[str, bool]:
        """Match all components of a path.

        Return the part of the path that the whole pattern matches: all of it, a folder above, or "" if there is none.
        The second value is whether this part has a hidden component that is not spelled out.
        """
        names, states, is_left_out = path.split("/"), self.START, False
        for number, name in enumerate(names, 1):
            taken, states, is_explicit = self.step([(position, "") for position in self.reached(states)], name)
            is_left_out = is_left_out or (is_hidden(name) and not is_explicit)
            if taken and (number == len(names) or not states):
                return "/".join(names[:number]), is_left_out
            if not states:
                break
        return "", False
