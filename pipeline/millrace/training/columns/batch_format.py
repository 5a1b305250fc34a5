"""The formats of batches."""

from __future__ import annotations

from enum import StrEnum


class BatchFormat(StrEnum):
    """What a batch is: a dict of NumPy arrays, an Arrow RecordBatch, or a dict of torch tensors."""

    NUMPY = "numpy"
    ARROW = "arrow"
    TORCH = "torch"
