"""Make batches from views of the arrays that hold their rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from millrace.errors import UsageError
from millrace.training.columns import BatchFormat, ColumnPlan, Plan

Batch = Any
"""A dict of NumPy arrays, a dict of torch tensors, or a ``pyarrow.RecordBatch``."""
BatchMaker = Callable[[Mapping[str, Any]], Batch]


def batch_maker(format: str, plans: Sequence[Plan]) -> BatchMaker:
    """Return the function that makes a batch from the arrays of its columns, by name.

    The array of a ``ColumnPlan`` is a NumPy view of shape (rows, *shape), and the batch shares its memory. That of a
    ``RaggedPlan`` is an Arrow array. Importing torch happens here, for ``format="torch"`` only.
    """
    if format == BatchFormat.ARROW:
        from millrace.training.formats.arrow import record_batch_maker

        return record_batch_maker(plans)
    fixed = [plan for plan in plans if isinstance(plan, ColumnPlan)]
    if format == BatchFormat.TORCH:
        tensors = require_torch().tensors
        return lambda columns: tensors(_shown(fixed, columns))
    return lambda columns: _shown(fixed, columns)


def require_torch() -> ModuleType:
    """Return the module that imports torch; raise ``UsageError`` where torch is not installed."""
    try:
        from millrace.training.formats import torch
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise UsageError(
            "torch is not installed", hint="pip install 'millrace[torch]', or read with format='numpy'"
        ) from None
    return torch


def _shown(plans: Sequence[ColumnPlan], columns: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arrays with their axes in the order in which they are shown."""
    return {plan.name: _with_axes(columns[plan.name], plan.axes) for plan in plans}


def _with_axes(array: Any, axes: tuple[int, ...] | None) -> Any:
    return array if axes is None else np.transpose(array, (0, *(axis + 1 for axis in axes)))
