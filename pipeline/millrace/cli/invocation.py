"""State of one call of ``millrace``: its common options, and the facts that decide its exit code."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from millrace.cli.interrupts import Interrupts
from millrace.cli.output import print_json, warn

if TYPE_CHECKING:
    from millrace.api import Store


@dataclass(slots=True)
class Invocation:
    """State of one call of ``millrace``.

    ``argv`` holds the arguments after ``millrace``; options and the command itself set the other fields.
    """

    argv: tuple[str, ...]
    interrupts: Interrupts
    json: bool = False
    strict: bool = False
    debug: bool = False
    degraded: bool = False
    store: Store | None = None
    """The store of the command; a catalogue that was read with a node down counts as degraded."""
    _said: set[str] = field(default_factory=set)

    def note_degraded(self, why: str) -> None:
        """Mark the call as degraded and warn once.

        The work is done, but some data is on one node only or was read with a node down.
        """
        self.degraded = True
        self.warn_once(why)

    def warn_once(self, text: str) -> None:
        """Print a warning on standard error, once for each text."""
        if text not in self._said:
            self._said.add(text)
            warn(text)

    def answer(self, facts: dict[str, Any], show: Callable[[], None]) -> None:
        """Print the result: ``facts`` as JSON (with ``degraded``), or the output of ``show`` as text."""
        if self.store is not None and self.store.catalogue.reader.was_degraded:
            self.note_degraded(self.store.catalogue.reader.degraded_warning)
        if self.json:
            print_json({**facts, "degraded": self.degraded or bool(facts.get("degraded"))})
        else:
            show()

    def command_with(self, *options: str) -> str:
        """Return this call with options added, as it is typed in a shell."""
        return shlex.join(["millrace", *self.argv, *options])


pass_invocation = click.make_pass_decorator(Invocation)


def _set(name: str) -> Callable[[click.Context, click.Parameter, bool], None]:
    def callback(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
        invocation = context.find_object(Invocation)
        if invocation is not None and value:
            setattr(invocation, name, True)

    return callback


json_option = click.option(
    "--json",
    is_flag=True,
    expose_value=False,
    callback=_set("json"),
    help="Print the result as one JSON document; errors too.",
)
strict_option = click.option(
    "--strict",
    is_flag=True,
    expose_value=False,
    callback=_set("strict"),
    help="End with exit code 3 when the work was done but is degraded (one replica, or a node down).",
)
