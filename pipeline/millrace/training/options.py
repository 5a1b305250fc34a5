"""The arguments of ``Dataset.training``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from millrace.training.formats import Batch
from millrace.training.order import Shuffle, Tail


@dataclass(frozen=True, kw_only=True)
class LoaderOptions:
    """What a loader reads, in which order and form; see ``Dataset.training``."""

    global_batch_rows: int
    split: str | None = None
    seed: int = 0
    rank: int | None = None
    world_size: int | None = None
    format: str = "numpy"
    columns: Sequence[str] | None = None
    nulls: Mapping[str, Any] | None = None
    normalize: Mapping[str, Any] | str | None = None
    transform: Callable[[Batch], Batch] | None = None
    shuffle: str = Shuffle.WINDOW
    window_chunks: int | None = None
    lanes: int = 8
    tail: str = Tail.DROP_LAST
    prefetch_bytes: int | None = None
    cache_bytes: int = 0
