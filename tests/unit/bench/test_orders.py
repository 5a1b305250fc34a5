"""Both clustering orders are queried for the same tiles, whichever way they are read."""

from __future__ import annotations

from typing import Any

import pytest

from bench.orders import CHUNKS, ORDERS, TILES, WAYS, Order

SOME = {(chunk, tile) for chunk in range(CHUNKS) for tile in (11, 30)}
ALL = {(chunk, tile) for chunk in range(CHUNKS) for tile in range(TILES)}


def answered(order: Order, way: str) -> list[tuple[int, int]]:
    """Return the tiles that a node would find in one bucket, request by request."""
    where, values = order.asks[way]
    rows = []
    for chunk in [0] if way == "bucket" else range(CHUNKS):
        given = dict(zip(where.split(" AND "), values(chunk), strict=True))
        rows += [place for place in sorted(ALL) if all(_passes(*place, *each) for each in given.items())]
    return rows


def _passes(chunk: int, tile: int, condition: str, value: Any) -> bool:
    return {
        "chunk = ?": lambda: chunk == value,
        "tile IN ?": lambda: tile in value,
        "(chunk, tile) IN ?": lambda: (chunk, tile) in value,
    }[condition]()


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: order.table)
@pytest.mark.parametrize("way", WAYS)
def test_each_way_finds_every_tile_asked_for_once(order: Order, way: str) -> None:
    assert sorted(answered(order, way)) == sorted(ALL if way == "all" else SOME)
