"""A version of a dataset, to be read: the names and meanings of ``pyarrow.dataset.Dataset``."""

from __future__ import annotations

from millrace.dataset.dataset import Dataset

__all__ = ["Dataset"]
