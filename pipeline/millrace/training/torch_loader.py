"""The loader for PyTorch; it exists only where torch is installed."""

from __future__ import annotations

from millrace.training.formats.torch import InWorkers, IterableDataset
from millrace.training.loader import TrainingLoader


class TorchLoader(InWorkers, TrainingLoader, IterableDataset):  # type: ignore[misc]
    """A ``TrainingLoader`` that is an ``IterableDataset``, for ``DataLoader(loader, batch_size=None)``."""
