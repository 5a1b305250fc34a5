"""Files that are read front to back: standard input, and the bodies of web servers that answer no ranges.

A body is requested once in this process. Planning keeps the bytes that it reads, and the load in the same process
continues behind them. A load in another process, and a second load, request the body again with the planned facts.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, Final

from millrace.sources.io.kept_input import KeptInput
from millrace.sources.io.remote.access import forget_connections, open_remote
from millrace.sources.io.stdin import STANDARD_INPUT, standard_input
from millrace.sources.model import SourceFile

_BODIES_MAX: Final = 16
"""Bodies that are kept open at once, each with a connection and a temporary file."""
_COUNTED_BYTES: Final = 1 << 20

_bodies: OrderedDict[Any, KeptInput] = OrderedDict()


def begin_plan() -> None:
    """Begin a plan: bodies, connections and settings of plans before are not used again."""
    _bodies.clear()
    forget_connections()


def input_of(file: SourceFile) -> KeptInput:
    """Return the input from which a file without ranges is read."""
    if file.uri == STANDARD_INPUT:
        return standard_input()
    key = (file.uri, file.facts)
    if key not in _bodies:
        # A body that is dropped here is closed when its last reader is.
        _bodies[key] = KeptInput(open_remote(file).read)
        while len(_bodies) > _BODIES_MAX:
            _bodies.popitem(last=False)
    return _bodies[key]


def count_body(file: SourceFile, bytes_max: int) -> int:
    """Return the number of bytes of a body whose size is unknown; counting ends above ``bytes_max``."""
    count, source = 0, input_of(file)
    while count <= bytes_max and (piece := source.read(count, _COUNTED_BYTES)):
        count += len(piece)
    return count


def begin_load(files: Iterable[SourceFile]) -> None:
    """Begin to load these files: bytes of inputs that arrive from now on are not kept."""
    for file in files:
        if file.has_ranges:
            continue
        if file.uri != STANDARD_INPUT and input_of(file).is_loading:
            _bodies.pop((file.uri, file.facts))
        input_of(file).load()
