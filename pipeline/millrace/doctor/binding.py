"""Name the limit of this machine that binds a load or a read: the lowest one on the way of the bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from millrace.doctor.hardware_limits import HardwareLimit, Limit

_WAYS: Final[Mapping[str, tuple[Limit, ...]]] = {
    "load": (Limit.GZIP, Limit.WRITTEN),
    "read from Cassandra": (Limit.READ, Limit.GUNZIP),
    "read from Redis, stored form": (Limit.REDIS_GET, Limit.GUNZIP),
}
_RAW_BYTES: Final = (Limit.GZIP, Limit.GUNZIP)
_RAW_FORM: Final = "read from Redis, raw form"


@dataclass(frozen=True, slots=True)
class BindingLimit:
    """The limit that binds one way of the data, and the highest rate on this way in MB of raw bytes a second."""

    way: str
    limit: str
    raw_mb_per_s: float


def binding_limits(limits: Iterable[HardwareLimit]) -> list[BindingLimit]:
    """Return the limit that binds each way of which all limits were measured.

    Stored bytes are converted by the ratio of the sample, so data that compresses otherwise has other limits.
    """
    rates = {kind: rate for limit in limits if (kind := _kind(limit)) and (rate := limit.value) is not None}
    ratio = rates.get(Limit.RATIO)
    if ratio is None:
        return []
    raw = {kind: rate if kind in _RAW_BYTES else rate * ratio for kind, rate in rates.items()}
    bound = [
        _lowest(way, {kind: raw[kind] for kind in kinds}) for way, kinds in _WAYS.items() if raw.keys() >= {*kinds}
    ]
    if Limit.REDIS_GET in rates:
        bound.append(BindingLimit(_RAW_FORM, Limit.REDIS_GET, rates[Limit.REDIS_GET]))
    return bound


def _kind(limit: HardwareLimit) -> Limit | None:
    return next((kind for kind in Limit if limit.name.startswith(kind)), None)


def _lowest(way: str, raw_rates: Mapping[Limit, float]) -> BindingLimit:
    kind = min(raw_rates, key=lambda each: raw_rates[each])
    return BindingLimit(way, kind, raw_rates[kind])
