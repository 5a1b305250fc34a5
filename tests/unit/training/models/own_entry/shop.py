"""A small shop: orders, some of which are returned, their customers, and the prices of products over time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa

CUSTOMERS = 300
ORDERS = 3000
PRODUCTS = ("chair", "desk", "lamp")
CHANNELS = ("phone", "shop", "web")
START = datetime(2026, 3, 1, tzinfo=UTC)
FIRST_PRICE_MINUTE = 600
"""Orders before it have no price."""


def customers() -> pa.Table:
    """Return age, null for some, and three sizes of each customer."""
    rng = np.random.default_rng(6)
    sizes = {f"size_{axis}": rng.normal(0, 1, CUSTOMERS) for axis in "xyz"}
    ages = pa.array(rng.integers(18, 90, CUSTOMERS), mask=rng.random(CUSTOMERS) < 0.1)
    return pa.table({"customer": np.arange(CUSTOMERS), "age": ages, **sizes})


def prices() -> pa.Table:
    """Return a new price of each product every 500 minutes."""
    rng = np.random.default_rng(7)
    rows = [
        {"product": name, "since": START + timedelta(minutes=minute), "price": float(rng.normal(50, 9))}
        for name in PRODUCTS
        for minute in range(FIRST_PRICE_MINUTE, 5000, 500)
    ]
    return pa.Table.from_pylist(rows)


def orders(rows: int = ORDERS, *, first: int = 0) -> pa.Table:
    """Return orders; the chance of a return grows with the items and with the size of the customer."""
    rng = np.random.default_rng([5, first])
    customer, items = rng.integers(0, CUSTOMERS, rows), rng.integers(1, 9, rows)
    channel = rng.choice(len(CHANNELS), rows)
    size = customers()["size_x"].to_numpy()[customer]
    chance = 1 / (1 + np.exp(-(0.3 * (items - 4.5) + size + 0.8 * (channel == 2) - 1.3)))
    return pa.table(
        {
            "id": np.arange(first, first + rows),
            "customer": customer,
            "product": rng.choice(PRODUCTS, rows),
            "channel": [CHANNELS[number] for number in channel],
            "ordered": [START + timedelta(minutes=int(minute)) for minute in rng.integers(0, 5000, rows)],
            "items": items,
            "weight": pa.array(rng.normal(5, 1, rows), mask=rng.random(rows) < 0.02),
            "discount": pa.array(rng.integers(0, 30, rows), mask=rng.random(rows) < 0.3),
            "returned": rng.random(rows) < chance,
        }
    )
