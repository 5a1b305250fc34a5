"""The one module that imports torch: tensors that share the memory of NumPy arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch


def tensors(arrays: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Return a tensor for each array, which shares its memory."""
    return {name: torch.from_numpy(array) for name, array in arrays.items()}
