"""The batches that a training loop gets: dicts of NumPy arrays or torch tensors, and Arrow RecordBatches."""

from millrace.training.formats.batches import Batch, batch_maker, require_torch

__all__ = ["Batch", "batch_maker", "require_torch"]
