"""The limit that binds a way of the data is the lowest one on it, in raw bytes."""

from __future__ import annotations

import pytest

from millrace.doctor import BindingLimit, HardwareLimit, binding_limits
from millrace.doctor.hardware_limits import Limit

MEASURED = {
    Limit.GZIP: 300.0,
    Limit.GUNZIP: 900.0,
    Limit.RATIO: 2.0,
    Limit.REDIS_GET: 1000.0,
    Limit.WRITTEN: 100.0,
    Limit.READ: 500.0,
}


def limits(**changed: float | None) -> list[HardwareLimit]:
    values = {**MEASURED, **{Limit[name]: value for name, value in changed.items()}}
    return [
        HardwareLimit(f"{kind}, 2 threads" if kind.startswith("g") else kind, value) for kind, value in values.items()
    ]


def test_each_way_is_bound_by_its_lowest_limit_in_raw_bytes() -> None:
    assert binding_limits(limits()) == [
        BindingLimit("load", Limit.WRITTEN, 200.0),
        BindingLimit("read from Cassandra", Limit.GUNZIP, 900.0),
        BindingLimit("read from Redis, stored form", Limit.GUNZIP, 900.0),
        BindingLimit("read from Redis, raw form", Limit.REDIS_GET, 1000.0),
    ]


@pytest.mark.parametrize(
    ("changed", "way", "bound"),
    [
        ({"GZIP": 150.0}, "load", Limit.GZIP),
        ({"READ": 400.0}, "read from Cassandra", Limit.READ),
        ({"REDIS_GET": 449.0}, "read from Redis, stored form", Limit.REDIS_GET),
    ],
)
def test_another_limit_binds_where_it_becomes_the_lowest(changed: dict[str, float], way: str, bound: Limit) -> None:
    assert {each.way: each.limit for each in binding_limits(limits(**changed))}[way] == bound


def test_a_way_with_a_limit_that_could_not_be_measured_is_left_out() -> None:
    assert [each.way for each in binding_limits(limits(REDIS_GET=None))] == ["load", "read from Cassandra"]
    assert binding_limits(limits(RATIO=None)) == []
