"""Parse blocks of text on all cores, with results in order and bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future
from typing import TypeVar

from millrace.parallel import in_order, worker_count
from millrace.sources.text.blocks import Block

Result = TypeVar("Result")

_IN_FLIGHT_BYTES = 24 << 20


def parse_in_order(
    parse: Callable[[Block], Result], blocks: Iterable[Block]
) -> Generator[tuple[Block, Future[Result]], None, None]:
    """Yield pairs of block and finished future in the order of ``blocks``; at most 24 MB of blocks are in flight."""
    threads = worker_count()
    return in_order(
        parse,
        blocks,
        threads=threads,
        name="millrace-parse",
        items_max=threads + 2,
        bytes_max=_IN_FLIGHT_BYTES,
        size_of=lambda block: len(block.data),
    )
