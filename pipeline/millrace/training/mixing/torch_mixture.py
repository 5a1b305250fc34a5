"""The mixture for PyTorch; it exists only where torch is installed."""

from __future__ import annotations

from millrace.training.formats.torch import InWorkers, IterableDataset
from millrace.training.mixing.mixture import Mixture


class TorchMixture(InWorkers, Mixture, IterableDataset):  # type: ignore[misc]
    """A ``Mixture`` that is an ``IterableDataset``, for ``DataLoader(mixture, batch_size=None)``."""
