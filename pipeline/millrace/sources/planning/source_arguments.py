"""Sources given by Python code: text, path objects, lists of them, and Arrow data."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from millrace.errors import UsageError
from millrace.sources.io.stdin import STANDARD_INPUT
from millrace.sources.planning.plan import Source
from millrace.sources.planning.python_data import ArrowStream, copied, is_arrow, type_name

Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
SourceLike = Paths | ArrowStream

_PATHS: Final = "a path, as text or as a path object, or a list of paths"
_ARROW: Final = (
    "a pyarrow Table, RecordBatch or RecordBatchReader, a pandas or polars DataFrame, "
    "or anything else with __arrow_c_stream__"
)


@contextmanager
def as_source(argument: Any) -> Iterator[Source]:
    """Yield the source in the form that ``plan_source`` takes, valid within the ``with`` block.

    Raises ``UsageError`` that lists the accepted types.
    """
    if is_arrow(argument):
        with copied(argument) as copy:
            yield copy
    else:
        yield _paths(argument, f"give {_PATHS}; {_ARROW}")


def as_paths(argument: Any) -> str | tuple[str, ...]:
    """Return paths in the form that ``plan_source`` takes, for a source that must outlive one call.

    Raises ``UsageError`` for anything else, also for Arrow data.
    """
    return _paths(argument, f"give {_PATHS}; load() also takes Arrow data" if is_arrow(argument) else f"give {_PATHS}")


def _paths(argument: Any, hint: str) -> str | tuple[str, ...]:
    if isinstance(argument, str | os.PathLike):
        return _text(argument)
    if not isinstance(argument, list | tuple):
        raise UsageError(f"{_kind(argument)} is not a source", hint=hint)
    for number, path in enumerate(argument):
        if not isinstance(path, str | os.PathLike):
            raise UsageError(f"entry {number} of the list of paths is {_kind(path)}", hint=hint)
    return tuple(_text(path) for path in argument)


def _text(path: str | os.PathLike[Any]) -> str:
    """Return the path as text; a path object that is named like standard input is a file."""
    text = os.fsdecode(path)
    return f"./{text}" if text == STANDARD_INPUT and not isinstance(path, str) else text


def _kind(value: object) -> str:
    return "None" if value is None else type_name(value).removeprefix("builtins.")
