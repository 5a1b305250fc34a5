"""Choose the form in which a version is cached, where the user gives none."""

from __future__ import annotations

from collections.abc import Collection

from millrace.cache.values import Form

_RAW_PER_STORED_MAX = 4
"""Above this ratio a thread inflates a chunk about as fast as Redis sends its raw form."""


def chosen_form(
    *, stored_bytes: int, raw_bytes: int, free_bytes: int, cached: Collection[Form] = (), has_columns: bool = False
) -> Form:
    """Return the form for a version of which the stored and the raw form need these bytes of memory.

    1. With ``columns`` it is raw, because a stored value holds all columns of a chunk.
    2. The form in which the version is already cached stays, stored before raw.
    3. It is raw if that fits into the free memory and needs at most 4 times the memory of the stored form.
    4. Else it is stored, which takes the least memory.
    """
    if has_columns:
        return Form.RAW
    if cached:
        return Form.STORED if Form.STORED in cached else Form.RAW
    is_raw = raw_bytes <= min(free_bytes, _RAW_PER_STORED_MAX * stored_bytes)
    return Form.RAW if is_raw else Form.STORED
