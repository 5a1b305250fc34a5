"""Share lanes among ranks, and rows of a batch among lanes; a refused number names the nearest that works."""

from __future__ import annotations

from collections.abc import Callable

from millrace.errors import UsageError


def rank_lanes(rank: int, world_size: int, lanes: int) -> range:
    """Return the lanes of a rank; raise ``UsageError`` if the ranks cannot have equally many."""
    if world_size < 1 or not 0 <= rank < world_size:
        raise UsageError(
            f"rank {rank} is not one of {world_size} ranks", hint="ranks count from 0", rank=rank, world_size=world_size
        )
    if lanes % world_size:
        worlds = _nearest(world_size, lanes, lambda number: lanes % number == 0)
        multiples = _nearest(lanes, lanes + world_size, lambda number: number % world_size == 0)
        raise UsageError(
            f"{lanes} lanes cannot be shared equally by world_size {world_size}",
            hint=f"use world_size {_either(worlds)}, or lanes {_either(multiples)}",
            lanes=lanes,
            world_size=world_size,
        )
    share = lanes // world_size
    return range(rank * share, (rank + 1) * share)


def lane_batch_rows(global_batch_rows: int, lanes: int, world_size: int = 1) -> int:
    """Return the rows of a global batch that each lane gives; raise ``UsageError`` if lanes cannot give equally many.

    ``world_size`` limits the lanes that the error suggests.
    """
    if global_batch_rows < 1 or global_batch_rows % lanes:
        batches = _nearest(global_batch_rows, max(global_batch_rows, 0) + lanes, lambda number: number % lanes == 0)
        shares = _nearest(
            lanes, global_batch_rows, lambda number: global_batch_rows % number == 0 and number % world_size == 0
        )
        raise UsageError(
            f"global_batch_rows {global_batch_rows} is not a multiple of lanes {lanes}",
            hint=f"use global_batch_rows {_either(batches)}" + (f", or lanes {_either(shares)}" if shares else ""),
            global_batch_rows=global_batch_rows,
            lanes=lanes,
        )
    return global_batch_rows // lanes


def _nearest(number: int, last: int, works: Callable[[int], bool]) -> list[int]:
    """Return the nearest smaller and the nearest larger number from 1 to ``last`` that works."""
    below = next((each for each in range(min(number, last), 0, -1) if works(each)), None)
    above = next((each for each in range(max(number, 0) + 1, last + 1) if works(each)), None)
    return [each for each in (below, above) if each is not None]


def _either(numbers: list[int]) -> str:
    return " or ".join(str(number) for number in numbers)
