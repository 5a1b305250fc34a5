"""ArcticDB on local LMDB: the peer to beat in reads, never a dependency (its licence is not for production)."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa

from bench.peers.fetched import fetch

__all__ = ["VERSION", "ArcticRead", "environment", "install"]

_LOCKED = Path(__file__).with_name("arcticdb.txt").read_text()
VERSION = _LOCKED.partition("arcticdb==")[2].split()[0]


def install(folder: Path) -> Path:
    """Return the folder with the packages, fetched once; raise ``StackError`` if there is no wheel."""
    return fetch(folder / f"arcticdb-{VERSION}", _LOCKED, has="arcticdb", name="ArcticDB")


def environment(target: Path) -> dict[str, str]:
    """Return the environment in which the packages are found."""
    return {"PYTHONPATH": str(target)}


class ArcticRead:
    """A contestant that reads a table from ArcticDB, as pandas or as Arrow.

    It first writes the table to a library of its own below ``folder``.
    """

    def __init__(self, arrow_file: str, folder: str, output_format: str = "pandas") -> None:
        import arcticdb  # type: ignore[import-not-found]  # fetched for the benchmark alone

        self._folder = tempfile.TemporaryDirectory(dir=folder)
        self.configuration = (f"read to {output_format}", "its own codec and threads, LMDB in the page cache")
        self._arctic = arcticdb.Arctic(f"lmdb://{self._folder.name}?map_size=16GB", output_format=output_format)
        self._library = self._arctic.create_library("bench")
        with pa.memory_map(arrow_file) as source:
            self._library.write("table", pa.ipc.open_file(source).read_all().to_pandas())

    def run(self) -> dict[str, Any]:
        """Read everything once."""
        return {"rows": len(self._library.read("table").data)}

    def profile(self) -> dict[str, Any]:
        """Do the same as ``run``."""
        return self.run()

    def close(self) -> None:
        """Delete the library."""
        del self._library, self._arctic
        self._folder.cleanup()
