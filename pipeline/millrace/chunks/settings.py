"""Settings of a load's chunks. The plan records them, so that a retry makes the same chunks."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self

from millrace.chunks.encoding.codecs import codec_named
from millrace.errors import InvalidSettingError
from millrace.settings import CHUNK_BYTES_MAX, CHUNK_BYTES_MIN

ROW_GROUP_BYTES_MAX = 256_000_000


@dataclass(frozen=True, slots=True)
class ChunkSettings:
    """Codec, level and sizes of a load's chunks; every value is checked when the object is made.

    ``chunk_bytes`` limits the stored bytes of a chunk (all tiles together). ``row_group_bytes`` is the target size of a
    row group, in the bytes that ``millrace.arrow.sizes`` counts for rows. It is None until ``choose_row_group_bytes``
    has chosen it. Raises ``InvalidSettingError`` with the name and the range.
    """

    codec: str = "gzip"
    codec_level: int = 1
    chunk_bytes: int = CHUNK_BYTES_MAX
    row_group_bytes: int | None = None
    kind: Literal["table", "bytes"] = "table"

    def __post_init__(self) -> None:
        levels = codec_named(self.codec).levels
        _check("codec_level", self.codec_level, levels.start, levels.stop - 1, f" for the codec {self.codec}")
        _check("chunk_bytes", self.chunk_bytes, CHUNK_BYTES_MIN, CHUNK_BYTES_MAX)
        if self.row_group_bytes is not None:
            _check("row_group_bytes", self.row_group_bytes, 1, ROW_GROUP_BYTES_MAX)
        if self.kind not in ("table", "bytes"):
            raise InvalidSettingError(f"kind is {self.kind!r}", hint="choose one of table, bytes", kind=self.kind)

    def to_json(self) -> dict[str, Any]:
        """Return a flat JSON object, for plans and fingerprints."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """Make settings from the result of ``to_json``; raise ``InvalidSettingError`` for an unknown name."""
        unknown = sorted(set(value) - {field.name for field in fields(cls)})
        if unknown:
            raise InvalidSettingError(f"unknown chunk settings: {', '.join(unknown)}")
        return cls(**value)


def _check(name: str, value: Any, low: int, high: int, about: str = "") -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise InvalidSettingError(
            f"{name} is {value!r}", hint=f"it must be from {low:,} to {high:,}{about}", name=name, value=value
        )
