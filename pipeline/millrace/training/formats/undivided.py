"""Loaders whose batches no ``DataLoader`` divides among its workers: all but those of torch."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from millrace.errors import UsageError


class Undivided:
    """The part of a loader that refuses the uses in a ``DataLoader`` in which item k would not be batch k."""

    _made_in: int
    """The process in which the loader was made."""

    def __getitem__(self, index: object) -> NoReturn:
        """Raise ``UsageError``: a ``DataLoader`` takes a loader of another format for a list of items."""
        raise UsageError(
            "a loader has no batches by number, and only one with format='torch' is a dataset for a DataLoader",
            hint="iterate over the loader, or use format='torch'",
        )

    def _check_worker(self) -> None:
        """Raise ``UsageError`` in one of several workers, unless it has made the loader itself for its own rank."""
        torch_data = sys.modules.get("torch.utils.data")  # a worker has imported it
        worker = None if torch_data is None else torch_data.get_worker_info()
        if worker is not None and worker.num_workers > 1 and self._made_in != os.getpid():
            raise UsageError(
                f"each of the {worker.num_workers} workers of the DataLoader would deliver all batches",
                hint="use format='torch', which divides them among the workers, or at most one worker",
            )
