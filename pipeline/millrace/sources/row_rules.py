"""Rules for rows that a load does not take as they are: the budget for bad rows and the contract.

This module is imported without pyarrow, so that declared sources are checked quickly.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Final, NamedTuple

REJECTS_ENDING: Final = "__rejects"
"""The ending of the name of a dataset that holds the rejected rows of another dataset."""
NAME_WITH_REJECTS_MAX: Final = 48 - len(REJECTS_ENDING)
"""Characters of the name of a dataset that may have rejects: a name has at most 48."""
NEW_COLUMN_REASON: Final = "the column is not one of the dataset"
"""The reason of a reject with a value in a column that the latest version does not have."""
_PERCENT: Final = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,6})?)%")


class Reaction(StrEnum):
    """The reaction to a column or a value that differs from the latest version."""

    EVOLVE = "evolve"
    FREEZE = "freeze"
    DISCARD_ROW = "discard_row"
    DISCARD_VALUE = "discard_value"


@dataclass(frozen=True, slots=True)
class Contract:
    """The reactions to columns and to values that differ from the latest version."""

    columns: Reaction = Reaction.EVOLVE
    types: Reaction = Reaction.FREEZE

    @classmethod
    def of(cls, value: Any) -> Contract:
        """Return the contract of one word, or of a map with ``columns`` and ``types``.

        Raises ``ValueError`` for any other value.
        """
        if isinstance(value, Contract):
            return value
        if isinstance(value, str):
            value = {"columns": value, "types": value}
        try:
            return cls(**{name: Reaction(word) for name, word in value.items()})
        except (AttributeError, TypeError, ValueError):
            raise ValueError(f"give one of {', '.join(Reaction)}, or columns and types") from None

    def to_json(self) -> dict[str, str]:
        """Return the two reactions by name."""
        return {"columns": str(self.columns), "types": str(self.types)}


@dataclass(frozen=True, slots=True)
class BadRowBudget:
    """The bad rows that a load may have: a number of rows, or a percentage of them."""

    PERCENT_PATTERN: ClassVar[str] = _PERCENT.pattern

    rows: int | None = None
    percent: float | None = None

    @classmethod
    def of(cls, value: Any) -> BadRowBudget:
        """Return the budget of a number of rows or of a text like ``100`` or ``1%``.

        Raises ``ValueError`` for any other value.
        """
        if isinstance(value, BadRowBudget):
            return value
        if isinstance(value, str) and value.isascii() and value.isdigit():
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return cls(rows=value)
        match = _PERCENT.fullmatch(value) if isinstance(value, str) else None
        if match is None or float(match[1]) > 100:
            raise ValueError("give a number of rows, or 0% to 100%")
        return cls(percent=float(match[1]))

    def __str__(self) -> str:
        return f"{self.percent:g}%" if self.rows is None else str(self.rows)

    def allows(self, bad_rows: int, all_rows: int) -> bool:
        """Return whether a load of ``all_rows`` rows, bad ones included, may have this number of bad rows."""
        if self.rows is not None:
            return bad_rows <= self.rows
        return bad_rows * 100 <= (self.percent or 0) * all_rows


NO_BAD_ROWS: Final = BadRowBudget(rows=0)
"""The budget of a load that its first bad row refuses."""


@dataclass(frozen=True, slots=True)
class RowRules:
    """The reactions of a load to rows that break their format, their types or the contract.

    ``types`` and ``columns`` are None without a contract; then types widen as in any load. With ``EVOLVE`` they widen
    too. With ``FREEZE`` a row with a value that does not fit is a bad row. ``DISCARD_ROW`` drops such a row, and
    ``DISCARD_VALUE`` makes the value null. Everything that is dropped is set aside.
    """

    budget: BadRowBudget = NO_BAD_ROWS
    types: Reaction | None = None
    columns: Reaction | None = None

    @classmethod
    def of(cls, budget: BadRowBudget, contract: Contract | None) -> RowRules:
        """Return the rules of a budget and a contract."""
        return cls(budget) if contract is None else cls(budget, contract.types, contract.columns)

    @property
    def sets_aside(self) -> bool:
        """Whether rows or values may be set aside, so that the first bad one does not refuse the load."""
        discards = {Reaction.DISCARD_ROW, Reaction.DISCARD_VALUE} & {self.types, self.columns}
        return bool(discards or self.budget.rows or self.budget.percent)

    @property
    def widens(self) -> bool:
        """Whether types may widen from null, and from integers to doubles, while rows are read."""
        return self.types in (None, Reaction.EVOLVE)

    def to_json(self) -> dict[str, str | None]:
        """Return the rules as JSON values; ``from_json`` restores equal rules."""
        return {"budget": str(self.budget), "types": self.types, "columns": self.columns}

    @classmethod
    def from_json(cls, fields: dict[str, str | None]) -> RowRules:
        """Return the rules from the values of ``to_json``."""
        types, columns = (fields[name] for name in ("types", "columns"))
        return cls(
            BadRowBudget.of(fields["budget"]),
            None if types is None else Reaction(types),
            None if columns is None else Reaction(columns),
        )


NO_RULES: Final = RowRules()
"""The rules of a load without a budget and without a contract."""


class RejectKind(StrEnum):
    """The reason for which a reject does or does not count against the budget."""

    BAD = "bad"
    DISCARDED_ROW = "discarded_row"
    DISCARDED_VALUE = "discarded_value"


class Reject(NamedTuple):
    """A row or a value that was set aside.

    ``line`` is the number of the row's line, from 1, or of the row in a binary file. ``column`` is empty where the
    whole row is the reason. ``raw`` is the text of the row, at most 64 KB of it. ``is_complete`` is False where it was
    cut or is not UTF-8, so that the row cannot be read from it again.
    """

    file: str
    line: int
    column: str
    reason: str
    raw: str
    kind: RejectKind = RejectKind.BAD
    is_complete: bool = True
