"""Read a version of a dataset, through the method names and meanings of ``pyarrow.dataset.Dataset``."""

from __future__ import annotations

from millrace.dataset.dataset import Dataset

__all__ = ["Dataset"]
