"""Make the loader for a format of batches."""

from __future__ import annotations

from millrace.training.columns import BatchFormat
from millrace.training.formats import require_torch
from millrace.training.loader import TrainingLoader
from millrace.training.opened import Opener
from millrace.training.options import LoaderOptions


def make_loader(opener: Opener, options: LoaderOptions) -> TrainingLoader:
    """Return a loader; one with ``format="torch"`` is an ``IterableDataset``, and needs torch."""
    if options.format != BatchFormat.TORCH:
        return TrainingLoader(opener, options)
    require_torch()
    from millrace.training.torch_loader import TorchLoader

    return TorchLoader(opener, options)
