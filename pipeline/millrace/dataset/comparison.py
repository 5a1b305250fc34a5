"""Compare two versions: schema, rows, and the chunks with the same bytes."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from millrace.dataset.dataset import Dataset


@dataclass(frozen=True, slots=True)
class DiffReport:
    """Differences from ``a`` to ``b``. ``retyped_columns`` has (column, type in a, type in b). Sizes are stored bytes.

    Chunks are the same if all their tiles have the same checksums, regardless of their keys.
    """

    a: str
    b: str
    added_columns: tuple[str, ...]
    removed_columns: tuple[str, ...]
    retyped_columns: tuple[tuple[str, str, str], ...]
    rows_a: int
    rows_b: int
    common_chunks: int
    only_a_chunks: int
    only_b_chunks: int
    common_bytes: int
    only_a_bytes: int
    only_b_bytes: int

    @property
    def is_identical(self) -> bool:
        """Return whether the schema and every chunk are equal."""
        changed = self.added_columns or self.removed_columns or self.retyped_columns
        return not changed and not self.only_a_chunks and not self.only_b_chunks

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON: every field, and ``identical``."""
        return {**asdict(self), "identical": self.is_identical}


def diff(a: Dataset, b: Dataset) -> DiffReport:
    """Compare two versions by their manifests alone; no chunk is read."""
    types_a = dict(zip(a.schema.names, map(str, a.schema.types), strict=True))
    types_b = dict(zip(b.schema.names, map(str, b.schema.types), strict=True))
    chunks_a, chunks_b = _chunks(a), _chunks(b)
    same, only_a, only_b = chunks_a & chunks_b, chunks_a - chunks_b, chunks_b - chunks_a
    return DiffReport(
        a=a.version.reference,
        b=b.version.reference,
        added_columns=tuple(name for name in types_b if name not in types_a),
        removed_columns=tuple(name for name in types_a if name not in types_b),
        retyped_columns=tuple(
            (name, types_a[name], types_b[name])
            for name in types_a
            if name in types_b and types_a[name] != types_b[name]
        ),
        rows_a=a.count_rows(),
        rows_b=b.count_rows(),
        common_chunks=same.total(),
        only_a_chunks=only_a.total(),
        only_b_chunks=only_b.total(),
        common_bytes=_bytes(same),
        only_a_bytes=_bytes(only_a),
        only_b_bytes=_bytes(only_b),
    )


def _chunks(dataset: Dataset) -> Counter[tuple[bytes, int]]:
    return Counter((b"".join(tile.stored_checksum for tile in ref.tiles), ref.stored_bytes) for ref in dataset.refs())


def _bytes(chunks: Counter[tuple[bytes, int]]) -> int:
    return sum(size * count for (_, size), count in chunks.items())
