"""Arrays as the bytes of one file, without pickle: equal arrays give equal bytes."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from millrace.errors import UsageError

_DATE: Final = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip file can hold."""


def pack_arrays(arrays: Mapping[str, np.ndarray[Any, Any]]) -> bytes:
    """Return an ``.npz`` file of these arrays, in the order of their names.

    ``numpy.load`` reads it. Raises ``UsageError`` for an array of objects, because it can only be pickled.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(arrays):
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", _DATE), _npy(name, arrays[name]))
    return buffer.getvalue()


def _npy(name: str, array: np.ndarray[Any, Any]) -> bytes:
    if array.dtype.hasobject:
        raise UsageError(
            f"the array {name!r} holds Python objects, which can only be pickled",
            hint="use numbers or text",
            array=name,
        )
    member = io.BytesIO()
    np.lib.format.write_array(member, np.ascontiguousarray(array), allow_pickle=False)
    return member.getvalue()


def unpack_arrays(data: bytes) -> dict[str, np.ndarray[Any, Any]]:
    """Return the arrays of ``pack_arrays``, or of another ``.npz`` file without pickle."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise UsageError(f"the weights are not an .npz file of plain arrays ({error})") from None
