"""A declared preparation over two inputs, with another query in each test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from millrace.training.prepare import HashSplits, Preparation
from millrace.training.prepare.query import CheckedQuery, check_query

FLIGHTS = pa.schema(
    {
        "time_hour": pa.timestamp("us", "UTC"),
        "carrier": pa.string(),
        "flight": pa.int32(),
        "origin": pa.string(),
        "month": pa.int64(),
        "distance": pa.float64(),
        "dep_delay": pa.float64(),
        "arr_delay": pa.float64(),
    }
)
WEATHER = pa.schema(
    {
        "origin": pa.string(),
        "time_hour": pa.timestamp("us", "UTC"),
        "local": pa.timestamp("us"),
        "day": pa.date32(),
        "temp": pa.float64(),
        "month": pa.int64(),
        "station": pa.int16(),
        "rain": pa.bool_(),
    }
)
SCHEMAS = {"flights": FLIGHTS, "weather": WEATHER}
KEY = ("time_hour", "carrier", "flight")


def declared(query: str, **fields: Any) -> Preparation:
    defaults: dict[str, Any] = {
        "name": "late",
        "inputs": {"flights": "flights", "weather": "weather"},
        "key": KEY,
        "at": "time_hour - INTERVAL 2 HOUR",
        "target": "arr_delay > 15",
        "after": ("dep_delay", "arr_delay"),
        "known": {"weather": "known_at"},
        "splits": HashSplits({"train": 0.7, "test": 0.3}),
    }
    return Preparation(query=query, **{**defaults, **fields})


def checked(query: str, schemas: Mapping[str, pa.Schema] = SCHEMAS, **fields: Any) -> CheckedQuery:
    return check_query(declared(query, **fields), schemas)
