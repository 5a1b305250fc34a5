"""Records of the Kafka topic: an event with its bytes as stored, or a record without a valid event."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from millrace.errors import ProgressError
from millrace.progress import validate_event

_DIGITS_SAFE = 300
"""An integer with at most this many digits is in the range of a double."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """A record from Kafka that holds an event. ``raw`` are its bytes as stored in Kafka."""

    partition: int
    offset: int
    raw: bytes
    event: dict[str, Any]
    broker_time_s: float
    """The broker's timestamp of the record (Unix time)."""
    key: str = ""
    """The record's key: the source, unless a foreign producer uses another key."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A record without an event: an invalid one, or a tombstone that ``deletes`` the record with this key."""

    partition: int
    offset: int
    deletes: str = ""


def _no_constant(name: str) -> Any:
    raise ProgressError(f"{name} is not valid in JSON")


def _finite(text: str) -> float:
    """Return a number that a double can hold; raise ``ProgressError`` for a larger one.

    JSON allows larger numbers, but readers cannot write them again.
    """
    value = float(text)
    if math.isinf(value):
        raise ProgressError(f"{text[:80]} is larger than any double")
    return value


def _whole(text: str) -> int:
    if len(text) > _DIGITS_SAFE:
        _finite(text)
    return int(text)


def key_text(key: bytes) -> str:
    """Decode a record's key; different keys give different texts.

    Each byte of invalid UTF-8 becomes a lone surrogate. A valid key never contains one.
    """
    return key.decode("utf-8", "surrogateescape")


def parse_record(raw: bytes) -> dict[str, Any]:
    """Return the event in a record's value. Raises ``ProgressError`` if the value is not a valid event."""
    try:
        event = json.loads(raw.decode("utf-8"), parse_constant=_no_constant, parse_float=_finite, parse_int=_whole)
    except (ValueError, RecursionError) as error:
        raise ProgressError(f"not JSON: {error}") from None
    validate_event(event)
    return dict(event)
