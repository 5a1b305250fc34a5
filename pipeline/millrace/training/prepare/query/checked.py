"""A query that was checked, and its needs: one set of columns, and perhaps a filter, for each input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class InputNeed:
    """The columns of an input that a preparation reads, in the order of its schema, and a filter of its rows.

    ``filter`` is a condition as ``Dataset.to_batches`` takes it. None means all rows.
    """

    columns: tuple[str, ...]
    filter: str | None = None


@dataclass(frozen=True, slots=True)
class CheckedQuery:
    """A query that may run: ``sql`` is exactly the text of the user.

    ``needs`` has each alias, in the order of the inputs. ``one_thread`` is true where the result may depend on the
    order in which rows are read.
    """

    sql: str
    needs: Mapping[str, InputNeed]
    one_thread: bool
