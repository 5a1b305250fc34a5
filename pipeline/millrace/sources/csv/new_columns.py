"""Columns of a CSV that the latest version does not have, and whose values a contract discards."""

from __future__ import annotations

from collections.abc import Container, Iterator

import numpy as np
import pyarrow as pa

from millrace.sources.csv.parser import CsvParser
from millrace.sources.model import SourcePlan
from millrace.sources.row_rules import Reaction
from millrace.sources.text.blocks import Block


class NewColumns:
    """The columns of blocks that are not ``planned``; only ``selected`` ones count (None: all)."""

    def __init__(self, parser: CsvParser, planned: Container[str], selected: Container[str] | None) -> None:
        self._parser = parser
        self._planned = planned
        self._selected = selected

    @classmethod
    def of(cls, plan: SourcePlan, parser: CsvParser, reaction: Reaction) -> NewColumns | None:
        """Return the new columns if this is the contract's reaction to them, else None."""
        if plan.rules.columns is not reaction:
            return None
        return cls(parser, frozenset(plan.source_schema.names), plan.options.columns)

    def rows(self, block: Block) -> dict[int, str]:
        """Return each row with a value in a new column, and the first such column; raises ``pa.ArrowInvalid``."""
        rows: dict[int, str] = {}
        for name, values in self._values(block):
            for row in np.flatnonzero(values.is_valid().to_numpy(zero_copy_only=False)).tolist():
                rows.setdefault(row, name)
        return rows

    def count(self, block: Block) -> int:
        """Return the number of values in new columns; raises ``pa.ArrowInvalid``."""
        return sum(len(values) - values.null_count for _, values in self._values(block))

    def _values(self, block: Block) -> Iterator[tuple[str, pa.Array]]:
        names = [name for name in block.columns if name not in self._planned]
        names = [name for name in names if self._selected is None or name in self._selected]
        if names:
            yield from zip(names, self._parser.texts(block, names).columns, strict=True)
