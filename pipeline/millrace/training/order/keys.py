"""Permutations from the raw stream of Philox, which NumPy guarantees between its versions.

``Generator.permutation`` has no such guarantee. Sorting unique keys has one result, whichever sort NumPy uses.
"""

from __future__ import annotations

import hashlib
import json
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from millrace.training.order.spec import OrderSpec

_INDICES: Final = np.arange(1 << 14, dtype=np.uint64)
"""The indices in a block. Blocks begin at multiples of their length, so both parts of an index share no bit."""


class Purpose(StrEnum):
    """The parts of the order that are permuted, so that no two of them use one random stream."""

    CHUNKS = "chunks"
    """The chunks of the split."""
    FRAGMENTS = "fragments"
    """The fragments of a lane in an epoch."""
    ROWS = "rows"
    """The rows of a window."""


def permutation(
    length: int, purpose: Purpose, spec: OrderSpec, *, epoch: int = 0, lane: int = 0, window: int = 0
) -> NDArray[np.int64]:
    """Return a permutation of ``range(length)`` that depends on the arguments alone."""
    keys = np.random.Philox(key=_stream_key(purpose, spec, epoch, lane, window)).random_raw(length)
    return sorted_indices(keys).view(np.int64)


def sorted_indices(keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the indices of ``keys`` in the order of their high bits; ``keys`` is overwritten.

    The low bits are replaced by the index, so keys are unique. 10**6 rows leave 44 random bits. With the random numbers
    160,000 rows take 12 ns a row on a busy core; without the blocks, which need no second large array, 18 ns.
    """
    low_bits = np.uint64((1 << max(1, (len(keys) - 1).bit_length())) - 1)
    for start in range(0, len(keys), len(_INDICES)):
        block = keys[start : start + len(_INDICES)]
        block &= ~low_bits
        block |= _INDICES[: len(block)]
        block |= np.uint64(start)
    keys.sort()
    keys &= low_bits
    return keys


def _stream_key(purpose: Purpose, spec: OrderSpec, epoch: int, lane: int, window: int) -> int:
    """Return the 128-bit key of a random stream."""
    parts = [spec.algorithm, str(purpose), spec.version, spec.split, spec.seed, epoch, lane, window]
    text = json.dumps(parts, separators=(",", ":"))
    return int.from_bytes(hashlib.blake2b(text.encode("ascii"), digest_size=16).digest(), "little")
