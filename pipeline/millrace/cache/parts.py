"""Parts of versions in the cache: which chunks of which version, in which form, and how they are recorded in Redis."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pydantic import AwareDatetime, TypeAdapter

from millrace.cache.values import Form


@dataclass(frozen=True, slots=True)
class Admission:
    """The decision how many of the first chunks of a part may be cached. Sizes in bytes of Redis' memory.

    ``needed_bytes`` is what all of its chunks need in addition, ``reserved_bytes`` what warmings have reserved.
    """

    chunks: int
    needed_bytes: int
    free_bytes: int
    reserved_bytes: int
    limit_bytes: int

    def __str__(self) -> str:
        text = (
            f"needs {self.needed_bytes:,} bytes of Redis, "
            f"and {max(0, self.free_bytes):,} of {self.limit_bytes:,} are free"
        )
        reserved = f" ({self.reserved_bytes:,} are reserved for versions being filled)"
        return text + (reserved if self.reserved_bytes else "")


@dataclass(frozen=True, slots=True)
class CachedPart:
    """The cached chunks of a version in one form: of one split, or of all rows if ``split`` is None.

    In the raw form only the tiles with ``columns`` are cached (None: all). ``chunks`` of ``total_chunks`` are cached,
    always the first ones, with ``bytes``. ``warmed_at`` is None while they are being cached.
    """

    dataset: str
    version: str
    form: Form
    split: str | None
    columns: tuple[str, ...] | None
    chunks: int
    total_chunks: int
    bytes: int
    admitted_at: AwareDatetime
    warmed_at: AwareDatetime | None = None

    @property
    def name(self) -> str:
        """Return the name of the version, as in ``flights@12-3fa9c1``."""
        return version_name(self.dataset, self.version)

    @property
    def field(self) -> str:
        """Return the field of the part in the hash of all parts. It begins with the name and the form."""
        return f"{self.name} {self.form} {json.dumps([self.split, self.columns])}"

    @property
    def share(self) -> float:
        """Return the fraction of the part's chunks that are cached, from 0 to 1."""
        return self.chunks / self.total_chunks if self.total_chunks else 1.0

    def to_json(self) -> dict[str, Any]:
        """Return the fields and the share; the times are those of the dataclass."""
        return {field: getattr(self, field) for field in self.__slots__} | {"share": round(self.share, 4)}


_STORED = TypeAdapter(CachedPart)


def version_name(dataset: str, version: str) -> str:
    """Return the name of a version in the ledger, by its label."""
    return f"{dataset}@{version}"


def pack_part(part: CachedPart) -> bytes:
    """Return the part as the bytes stored in Redis."""
    return _STORED.dump_json(part)


def unpack_part(stored: bytes) -> CachedPart | None:
    """Return the part from the bytes of ``pack_part``; None for the format of an incompatible program version."""
    try:
        return _STORED.validate_json(stored)
    except ValueError:
        return None
