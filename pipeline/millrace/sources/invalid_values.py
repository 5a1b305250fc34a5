"""Search for the first wrong value of an array that a reader refuses as a whole."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa


def first_invalid(array: pa.Array, read: Callable[[pa.Array], object]) -> int:
    """Return the number of the first value for which ``read`` raises ``pa.ArrowInvalid``, found by bisection.

    The array must contain such a value.
    """
    start, stop = 0, len(array)
    while stop - start > 1:
        middle = (start + stop) // 2
        try:
            read(array.slice(start, middle - start))
            start = middle
        except pa.ArrowInvalid:
            stop = middle
    return start
