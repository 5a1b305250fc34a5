"""The room that a preparation reserves on the disk before it fetches a row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

import pyarrow as pa

from millrace.store import Version
from millrace.training.prepare.query import CheckedQuery

_COPIES: Final = 3
"""The inputs, the result of the query, and the rows that are being sorted."""
_LEAST_BYTES: Final = 64_000_000


class SizedInput(Protocol):
    """The part of ``Dataset`` that tells the size of an input."""

    version: Version

    @property
    def schema(self) -> pa.Schema:
        """The schema of the version."""


def bytes_to_reserve(query: CheckedQuery, inputs: Mapping[str, SizedInput]) -> int:
    """Return the bytes that the scratch files of a preparation take at most, for a join that does not multiply rows."""
    return max(_LEAST_BYTES, _COPIES * sum(input_bytes(query, alias, inputs[alias]) for alias in inputs))


def input_bytes(query: CheckedQuery, alias: str, dataset: SizedInput) -> int:
    """Return the bytes of the needed columns of an input, decoded: their share of all columns."""
    share = len(query.needs[alias].columns) / max(1, len(dataset.schema))
    return int(dataset.version.raw_bytes * min(1.0, share))
