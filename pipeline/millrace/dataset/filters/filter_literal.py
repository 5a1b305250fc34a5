"""A literal as written in a filter, and the error for one that is not a value of its column's type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["number", "string", "boolean", "date", "time", "timestamp"]


@dataclass(frozen=True, slots=True)
class FilterLiteral:
    """A literal as written: ``text`` without its quotes, numbers with their sign."""

    kind: Kind
    text: str

    def __str__(self) -> str:
        if self.kind in ("number", "boolean"):
            return self.text
        quoted = "'" + self.text.replace("'", "''") + "'"
        return quoted if self.kind == "string" else f"{self.kind} {quoted}"


class UnfitError(Exception):
    """The reason why a literal is not a value of a type; it becomes a ``UsageError`` that names the column."""
