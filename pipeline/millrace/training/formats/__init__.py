"""The batches that a training loop gets: dicts of NumPy arrays or torch tensors, and Arrow RecordBatches."""

from millrace.training.formats.batches import Batch, batch_maker, require_torch
from millrace.training.formats.undivided import Undivided

__all__ = ["Batch", "Undivided", "batch_maker", "require_torch"]
