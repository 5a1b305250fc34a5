"""Options of several commands. The options of nearly all commands are in ``invocation``."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import click

from millrace.names import parse_columns

STANDARD_OUTPUT = "-"
"""The name of a source or an output that stands for standard input or output."""

dry_run_option: Callable[[Any], Any] = click.option("--dry-run", is_flag=True, help="Show the effect; change nothing.")


def deletion_options(command: Any) -> Any:
    """Add the options of the commands that delete: ``--dry-run``, ``--yes`` and ``--now``."""
    yes = click.option("--yes", is_flag=True, help="Skip the confirmation.")
    now = click.option("--now", is_flag=True, help="Remove the data at once, instead of after 24 hours.")
    return dry_run_option(yes(now(command)))


def columns_option(help_text: str) -> Callable[[Any], Any]:
    """Return the option ``--columns``, a list of column names; a wrong list raises ``UsageError``."""
    return click.option("--columns", metavar="A,B", type=_column_names, help=help_text)


def _column_names(text: str) -> tuple[str, ...]:
    return tuple(parse_columns(text))


class Bytes(click.ParamType[int]):
    """A number of bytes, with or without a unit: ``2000000000``, ``2GB``, ``2GiB``."""

    name = "bytes"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number; raise ``click.BadParameter`` for anything else."""
        from pydantic import ByteSize, TypeAdapter, ValidationError

        try:
            return int(TypeAdapter(ByteSize).validate_python(value))
        except (ValidationError, OverflowError):
            self.fail(f"{value!r} is not a number of bytes; write it as 500MB, 2GiB or 2000000000.", param, ctx)


class Seconds(click.FloatRange):
    """A finite number of seconds in a range.

    click accepts ``nan`` in every range and ``inf`` in each range without an end.
    """

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number; raise ``click.BadParameter`` for anything else."""
        seconds: float = super().convert(value, param, ctx)
        if not math.isfinite(seconds):
            self.fail(f"{value!r} is not a number of seconds.", param, ctx)
        return seconds
