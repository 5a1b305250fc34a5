"""A record of the chunks that the loaders of this process read."""

from __future__ import annotations

from typing import Any

import pytest

from millrace.store import ChunkReader
from millrace.training.reader.fragment_reader import FragmentReader


class Fetches:
    """The chunks that loaders read, each with its epoch, and the number of those that came from Cassandra."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.of_loaders: list[tuple[int, int]] = []
        self.of_store = 0
        read, fetch = FragmentReader.read, ChunkReader.fetch

        def recorded_read(reader: Any, load: Any, number: int) -> None:
            self.of_loaders.append((load.window.epoch, load.window.fragments[number].chunk))
            read(reader, load, number)

        def recorded_fetch(reader: Any, *args: Any, **options: Any) -> Any:
            self.of_store += 1
            return fetch(reader, *args, **options)

        patch.setattr(FragmentReader, "read", recorded_read)
        patch.setattr(ChunkReader, "fetch", recorded_fetch)
