"""The dataset that a store returns: it can also be read by training jobs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from millrace import dataset
from millrace.api.connection import StoreConnection
from millrace.settings import Settings
from millrace.store import Lease, Version

if TYPE_CHECKING:
    from millrace.training import TrainingLoader


class Dataset(dataset.Dataset):
    """One immutable version of a dataset; a read returns exactly the loaded rows or raises an error.

    Made by ``Store.dataset``. ``stats`` counts the chunks of the last read that came from each tier.
    """

    def __init__(self, store: StoreConnection, version: Version) -> None:
        super().__init__(
            version,
            store.catalogue,
            store.chunk_reader,
            store.cache,
            store.settings.read,
            lease=lambda: Lease(store.cassandra, version),
        )
        self._store = store

    def training(
        self,
        *,
        global_batch_rows: int,
        split: str | None = None,
        seed: int = 0,
        rank: int | None = None,
        world_size: int | None = None,
        format: str = "numpy",
        columns: Sequence[str] | None = None,
        nulls: Mapping[str, Any] | None = None,
        normalize: Mapping[str, Any] | str | None = None,
        transform: Callable[[Any], Any] | None = None,
        shuffle: str = "window",
        window_chunks: int | None = None,
        lanes: int = 8,
        tail: str = "drop_last",
        prefetch_bytes: int | None = None,
        cache_bytes: int = 0,
    ) -> TrainingLoader:
        """Return the batches of one rank of a training job, in an order that ``seed`` and the version alone decide.

        All ranks together deliver global batches of ``global_batch_rows``, the same for every ``world_size``. ``rank``
        and ``world_size`` are by default those of the variables ``RANK`` and ``WORLD_SIZE``, else 0 and 1.

        ``split`` is a name in the version's schema; None means all rows of a version without splits. ``columns`` are
        read (None: all), and do not change the order. ``format`` is ``numpy`` or ``torch`` (a dict of arrays or
        tensors) or ``arrow`` (a RecordBatch). ``nulls={column: value}`` replaces nulls, which are NaN in floats and
        else refused. ``normalize={column: (mean, std)}`` makes floats. ``transform`` takes a batch and returns a batch;
        one thread applies it ahead of the loop.

        A version with a recipe has, without ``columns``, its features as matrices: those of float32 as ``features``,
        and those of another type as ``features_`` and its dtype. Its other arrays are tensors and ``target``. Nulls
        become the values of the recipe, or those of ``nulls``. ``normalize="recipe"`` uses the recipe's statistics.

        Rows are cut into ``lanes``, which the ranks share. ``shuffle`` is ``none``, ``chunk``, ``window`` or ``full``.
        A window has ``window_chunks`` chunks of each lane (None: 4, 2 or 1, by the size of the version). ``tail`` is
        ``drop_last``, ``pad`` or ``uneven``.

        ``prefetch_bytes`` bounds the memory of batches and of chunks in flight (None: two windows), ``cache_bytes``
        that of decoded chunks that stay between epochs. Raises ``UsageError`` for a value that is not possible, with
        the nearest one that is.
        """
        from millrace.training import LoaderOptions, make_loader

        options = LoaderOptions(
            global_batch_rows=global_batch_rows,
            split=split,
            seed=seed,
            rank=rank,
            world_size=world_size,
            format=format,
            columns=columns,
            nulls=nulls,
            normalize=normalize,
            transform=transform,
            shuffle=shuffle,
            window_chunks=window_chunks,
            lanes=lanes,
            tail=tail,
            prefetch_bytes=prefetch_bytes,
            cache_bytes=cache_bytes,
        )
        return make_loader(DatasetOpener(self, self._store), options)


class DatasetOpener:
    """Open a version in the process of the call: over the store that made the opener, or over a new connection.

    Only the settings and the name of the version are pickled.
    """

    def __init__(self, opened: Dataset, store: StoreConnection) -> None:
        self._reference = opened.version.reference
        self._settings: Settings = store.settings
        self._store_type = type(store)
        self._process = os.getpid()
        self._dataset: Dataset | None = opened

    @contextmanager
    def __call__(self) -> Iterator[Dataset]:
        """Give the dataset; a connection of this call is closed at the end of the block."""
        if self._dataset is not None and self._process == os.getpid():
            yield self._dataset
            return
        with self._store_type.connect(self._settings) as store:
            yield Dataset(store, store.version(self._reference))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_dataset": None}
