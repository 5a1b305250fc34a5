"""The parts of a load report that are objects in its JSON: facts of the source, the error, and times of stages."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import Any, Final, TypedDict

from millrace.errors import MillraceError
from millrace.names import without_credentials
from millrace.store import bounded_facts

_COMPARED: Final = ("uri", "format", "files", "bytes", "digest", "crc32")


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """The facts of a source."""

    uri: str = ""
    """The address without credentials; empty if it is not known."""
    format: str = ""
    files: int = 0
    bytes: int = 0
    """The size of the files as they are stored, compressed or not."""
    crc32: str | None = None
    """The checksum of all bytes of the source, file after file; null if it is not known."""
    first_files: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    """The facts that differ from those of the parent version's source: uri, format, files, bytes, digest (of the names,
    sizes and times of the files), crc32."""

    @classmethod
    def of(cls, facts: Mapping[str, Any], before: Mapping[str, Any] | None = None) -> SourceFacts:
        """Return the facts that a version records of its source. ``before`` are those of its parent."""
        before, bounded = before or {}, bounded_facts(dict(facts))
        files = facts.get("first_files")
        return cls(
            uri=without_credentials(str(facts.get("uri", ""))),
            format=str(facts.get("format", "")),
            files=int(facts.get("files", 0)),
            bytes=int(facts.get("bytes", 0)),
            crc32=facts.get("crc32"),
            first_files=tuple(files) if isinstance(files, list) else (),
            changed=tuple(n for n in _COMPARED if n in before and n in bounded and before[n] != bounded[n]),
        )

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> SourceFacts:
        """Return the facts from their JSON."""
        values: dict[str, Any] = {field.name: value[field.name] for field in fields(cls) if field.name in value}
        values |= {name: tuple(values.get(name, ())) for name in ("first_files", "changed")}
        return cls(**values)


ReportedError = TypedDict("ReportedError", {"class": str, "message": str, "hint": str, "retriable": bool})
"""The error of a failed run: its class, its message, the remedy, and whether the same load may succeed later."""


def reported_error(error: BaseException) -> ReportedError:
    """Return the parts of an error, without the credentials of URIs in it."""
    message, hint, retriable = str(error), "", False
    if isinstance(error, MillraceError):
        message, hint, retriable = error.message, error.hint, error.retriable
    return {
        "class": type(error).__name__,
        "message": without_credentials(message),
        "hint": without_credentials(hint),
        "retriable": retriable,
    }


@dataclass(slots=True)
class StageTimes:
    """The seconds of each stage of a load that has run."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure the block as this stage, also if it fails."""
        start = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = round(time.monotonic() - start, 3)
